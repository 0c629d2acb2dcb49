#include "simulator/sheet.h"

#include <stdio.h>

#include "base/nearest.h"
#include "simulator/models.h"

struct reading {
    const struct sheet *sheet;
    struct arena *arena;
    struct yaml_error *error;
};

bool sheet_refuse(struct yaml_error *error, size_t line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error->line = line;
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    return false;
}

bool sheet_settle_model(const struct yaml *node, const char **model, struct yaml_error *error)
{
    bool profile;
    if (*model != NULL && strcmp(*model, "*") == 0) {
        *model = NULL;
    }
    if (*model != NULL && model_find(span_str(*model), &profile) == NULL) {
        return sheet_refuse(error, node->line, "there is no model \"%.100s\"", *model);
    }
    return true;
}

const struct sheet_key *sheet_key(const struct sheet *sheet, struct span name)
{
    for (size_t i = 0; i < sheet->n_keys; i++) {
        if (span_eq(name, span_str(sheet->keys[i].row.name))) {
            return &sheet->keys[i];
        }
    }
    return NULL;
}

static bool refuse_key(struct reading *r, const struct yaml *member)
{
    struct nearest nearest = {.slip = member->key};
    for (size_t i = 0; i < r->sheet->n_keys; i++) {
        nearest_offer(&nearest, r->sheet->keys[i].row.name);
    }
    return sheet_refuse(r->error, member->key_line, "there is no key \"%.*s\"%s%s",
                        (int)span_first(member->key, 40).len, member->key.at,
                        nearest.name != NULL ? ", did you mean " : "",
                        nearest.name != NULL ? nearest.name : "");
}

static bool set(struct reading *r, const struct yaml *member, void *item)
{
    const char *complaint;
    const struct sheet_key *key = sheet_key(r->sheet, member->key);
    if (key == NULL) {
        return refuse_key(r, member);
    }
    if (member->kind != YAML_SCALAR) {
        return sheet_refuse(r->error, member->line, "%s wants one value", key->row.name);
    }
    if (!config_parse(&key->row, member->text, r->arena, (char *)item + key->row.offset,
                      &complaint)) {
        return sheet_refuse(r->error, member->line, "%s %.120s", key->row.name, complaint);
    }
    return true;
}

static void set_defaults(struct reading *r, void *item)
{
    for (size_t i = 0; i < r->sheet->n_keys; i++) {
        const char *complaint;
        const struct config_row *row = &r->sheet->keys[i].row;
        check(row->otherwise[0] == '\0' || config_parse(row, span_str(row->otherwise), r->arena,
                                                        (char *)item + row->offset, &complaint));
    }
}

static bool read_item(struct reading *r, const struct yaml *node, void *item)
{
    if (node->kind != YAML_MAPPING) {
        return sheet_refuse(r->error, node->line, "%s is a mapping", r->sheet->item);
    }
    set_defaults(r, item);
    for (const struct yaml *member = node->children; member != NULL; member = member->next) {
        if (!set(r, member, item)) {
            return false;
        }
    }
    return r->sheet->settle(node, item, r->error);
}

/* The list itself; NULL when there is none. */
static bool find_list(struct reading *r, const struct yaml *root, const struct yaml **out)
{
    const struct yaml *list = yaml_get(root, r->sheet->list);
    if (root->kind != YAML_MAPPING) {
        return sheet_refuse(r->error, root->line, "%s is a mapping with the member %s",
                            r->sheet->whole, r->sheet->list);
    }
    for (const struct yaml *member = root->children; member != NULL; member = member->next) {
        if (member != list) {
            return sheet_refuse(r->error, member->key_line, "there is no key \"%.*s\", only %s",
                                (int)span_first(member->key, 40).len, member->key.at,
                                r->sheet->list);
        }
    }
    if (list != NULL && list->kind == YAML_SCALAR && list->text.len == 0) {
        list = NULL;
    }
    if (list != NULL && list->kind != YAML_SEQUENCE) {
        return sheet_refuse(r->error, list->line, "%s is a list", r->sheet->list);
    }
    *out = list;
    return true;
}

bool sheet_read(const struct sheet *sheet, struct span yaml, struct arena *arena, void **items,
                size_t *n, struct yaml_error *error)
{
    struct reading r = {sheet, arena, error};
    const struct yaml *root;
    const struct yaml *list = NULL;
    if (yaml.len > SHEET_MOST) {
        return sheet_refuse(error, 0, "%s has at most %u bytes", sheet->whole, SHEET_MOST);
    }
    if (!yaml_parse(yaml, arena, &root, error) || !find_list(&r, root, &list)) {
        return false;
    }
    size_t count = list != NULL ? list->count : 0;
    char *at = arena_alloc(arena, count * sheet->item_size);
    *items = at;
    *n = count;
    for (const struct yaml *node = list != NULL ? list->children : NULL; node != NULL;
         node = node->next) {
        if (!read_item(&r, node, at)) {
            return false;
        }
        at += sheet->item_size;
    }
    return true;
}
