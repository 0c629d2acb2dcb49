/* What takes long is done off the loop (trap 15): the largest bodies, prompts and documents that
 * are taken, while a timer of the same loop goes on. */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "analyzer/analyzer.h"
#include "analyzer/document.h"
#include "aws/bedrock.h"
#include "net/rpc_call.h"
#include "router/router.h"
#include "task_test.h"

#define BODY     (25u << 20)
#define PROMPT   (3u << 20)
#define DOCUMENT (25u << 20) /* the most that can be configured */
#define PIECE    65536

/* --- how long the loop is silent ---------------------------------------------------------------
 *
 * How long the loop works between two ticks of a timer at most, in its thread's own time: what
 * others do on a busy machine does not count. 5 ms are allowed.
 */
#define SILENCE_MOST_US 20000 /* twenty times what was measured */

struct lag {
    bool over;
    uint64_t most_us;
};

static uint64_t worked_us(void)
{
    struct timespec time;
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time), 0);
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

static void watch_lag(void *arg)
{
    struct lag *lag = arg;
    while (!lag->over) {
        uint64_t begin_us = worked_us();
        assert_status_ok(task_sleep_ms(1));
        uint64_t took_us = worked_us() - begin_us;
        lag->most_us = took_us > lag->most_us ? took_us : lag->most_us;
    }
}

/* Runs fn in the running task and watches the loop. */
static void run_quietly(const char *what, void (*fn)(void *arg) PARKS, void *arg)
{
    struct lag lag = {0};
    struct group group;
    group_init(&group);
    group_spawn(&group, "lag", watch_lag, &lag);
    task_yield();
    fn(arg);
    lag.over = true;
    assert_status_ok(group_wait(&group));
    print_message("# %s: the loop worked %u us at most without a pause\n", what,
                  (unsigned)lag.most_us);
    assert_true(lag.most_us < SILENCE_MOST_US);
}

/* Sentences with a heading now and then, zero-terminated. */
static char *prose(size_t size)
{
    static const char sentence[] = "Passwords are kept in clear text, caf\303\251s \342\202\254. ";
    static const char heading[] = "\n\n## Access\n\n";
    char *text = calloc(1, size + 1);
    for (size_t i = 0; i + sizeof(sentence) + sizeof(heading) < size;) {
        bool begins = i % (size / 600) < sizeof(sentence);
        const char *next = begins ? heading : sentence;
        i = (size_t)(stpcpy(text + i, next) - text);
    }
    memset(text + strlen(text), '.', size - strlen(text));
    return text;
}

/* --- a body ------------------------------------------------------------------------------------
 */

/* Another process that takes requests of BODY bytes, whatever they say, and answers. */
static pid_t start_sink(char url[64])
{
    static const char reply[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntaken";
    static char taken[PIECE];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    snprintf(url, 64, "http://127.0.0.1:%u", ntohs(address.sin_port));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child != 0) {
        close(listener);
        return child;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int fd = accept(listener, NULL, NULL); fd >= 0;) {
        ssize_t got;
        size_t body = 0;
        const char *end = NULL; /* of the head */
        while (body < BODY && (got = read(fd, taken, sizeof(taken))) > 0) {
            bool head = end == NULL;
            end = head ? memmem(taken, (size_t)got, "\r\n\r\n", 4) : end;
            body += head && end != NULL ? (size_t)(taken + got - end) - 4 : (size_t)got;
        }
        if (body < BODY || write(fd, reply, sizeof(reply) - 1) < 0) {
            break;
        }
    }
    _exit(0);
}

struct upload {
    struct bedrock *bedrock;
    struct span body;
};

static void send_body(void *arg)
{
    const struct upload *upload = arg;
    const struct bedrock_request request = {
        .region = "us-east-2", .model_id = "m", .body = upload->body};
    for (int i = 0; i < 5; i++) {
        struct span answered;
        CLEANUP(bedrock_close) struct bedrock_call *call = NULL;
        assert_status_ok(bedrock_invoke(upload->bedrock, &request, &call, &answered));
        assert_span(answered, SPAN("taken"));
    }
}

task_test_real(a_body_is_signed_and_sent)
{
    char url[64];
    pid_t sink = start_sink(url);
    struct http_client *http = http_client_new(task_loop(), &(struct http_client_options){0});
    struct credentials_values who = {.access_key = SPAN("AKIDEXAMPLE"), .secret_key = SPAN("x")};
    struct credentials *credentials = credentials_fixed(&who);
    struct upload upload = {
        .bedrock = bedrock_new(
            &(struct bedrock_options){.http = http, .credentials = credentials, .endpoint = url}),
        .body = span_of(calloc(1, BODY), BODY),
    };
    run_quietly("a body of 25 MB", send_body, &upload);
    free((char *)upload.body.at);
    bedrock_free(upload.bedrock);
    credentials_free(credentials);
    http_client_free(http);
    kill(sink, SIGKILL);
    waitpid(sink, NULL, 0);
}

/* --- a prompt ----------------------------------------------------------------------------------
 */

struct planning {
    struct router router;
    struct router_config config;
    struct rpc rpc;
    struct plan *plan;
    Router__Generation generation;
};

static void plan(void *arg)
{
    struct planning *p = arg;
    const char *tenant;
    assert_status_ok(request_check(&p->rpc, "acme", &p->generation, &p->router, &tenant));
    assert_status_ok(plan_make(&p->router, &p->generation, tenant, p->rpc.arena, p->plan));
}

/* As text, which is weighed for every model, and as JSON, which is read. */
task_test_real(a_prompt_is_checked_and_weighed)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(64u << 20);
    struct planning p = {
        .config = {.bedrock_region = "", .max_attempts = 10, .max_content_tokens = 6192},
        .rpc = {.arena = arena},
    };
    p.router = (struct router){.config = &p.config, .loop = task_loop()};
    assert_status_ok(catalogue_load_default(&p.router.catalogue));
    p.plan = ARENA_NEW(arena, struct plan);

    char *text = prose(PROMPT);
    CLEANUP(buf_clear) struct buf raw;
    buf_init(&raw, 4u << 20);
    buf_add_str(&raw, "{\"type\":\"image\",\"numbers\":[0");
    while (raw.len < PROMPT / 2) { /* numbers weigh more than words */
        buf_add_str(&raw, ",1234567");
    }
    buf_add_str(&raw, "]}");

    Router__ContentBlock blocks[2] = {ROUTER__CONTENT_BLOCK__INIT, ROUTER__CONTENT_BLOCK__INIT};
    blocks[0].block_case = ROUTER__CONTENT_BLOCK__BLOCK_TEXT;
    blocks[0].text = text;
    blocks[1].block_case = ROUTER__CONTENT_BLOCK__BLOCK_RAW_JSON;
    blocks[1].raw_json = (ProtobufCBinaryData){raw.len, (uint8_t *)raw.at};
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
        Router__ContentBlock *content[] = {&blocks[i]};
        Router__Message message = ROUTER__MESSAGE__INIT;
        Router__Message *messages[] = {&message};
        message.role = ROUTER__ROLE__ROLE_USER;
        message.n_content = 1;
        message.content = content;
        router__generation__init(&p.generation);
        p.generation.n_messages = 1;
        p.generation.messages = messages;
        run_quietly(i == 0 ? "3 MB of text" : "1.5 MB of JSON", plan, &p);
        plan_drop(&p.plan);
    }
    free(text);
    catalogue_unref(p.router.catalogue);
}

/* --- a document --------------------------------------------------------------------------------
 */

struct splitting {
    struct analyzer analyzer;
    struct analyzer_config config;
    struct rpc rpc;
    Analyzer__Document source;
    struct document document;
};

static void split(void *arg)
{
    struct splitting *s = arg;
    assert_status_ok(
        request_document(&s->rpc, &s->analyzer, &s->source, "document", false, &s->document));
    assert_true(s->document.n_sections > 100);
}

task_test_real(a_document_is_split)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(8u << 20);
    struct splitting s = {
        .config = {.document_most = DOCUMENT,
                   .sections_most = 2000,
                   .section_words = 20000,
                   .section_words_least = 25},
        .rpc = {.arena = arena},
    };
    char *text = prose(DOCUMENT);
    s.analyzer.config = &s.config;
    analyzer__document__init(&s.source);
    s.source.source_case = ANALYZER__DOCUMENT__SOURCE_CONTENT;
    s.source.content = (ProtobufCBinaryData){DOCUMENT, (uint8_t *)text};
    run_quietly("a document of 25 MB", split, &s);
    free(text);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_body_is_signed_and_sent),
    cmocka_unit_test(a_prompt_is_checked_and_weighed),
    cmocka_unit_test(a_document_is_split),
};

HARNESS_MAIN(tests)
