#include "app/reflection.h"

#include <stdlib.h>

#include "app/symbols.h"
#include "base/alloc.h"
#include "base/utf8.h"
#include "descriptors.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "grpc/reflection/v1alpha/reflection.pb-c.h"

#define ANSWER_MOST (1u << 20) /* of memory beside the embedded files */

/* v1alpha has the same fields under the same numbers: its structs are v1's under another name. */
_Static_assert(sizeof(Grpc__Reflection__V1__ServerReflectionRequest) ==
                       sizeof(Grpc__Reflection__V1alpha__ServerReflectionRequest) &&
                   sizeof(Grpc__Reflection__V1__ServerReflectionResponse) ==
                       sizeof(Grpc__Reflection__V1alpha__ServerReflectionResponse),
               "one handler serves both versions");

struct reflection {
    struct symbols *symbols;
    const struct rpc_service *services;
    size_t n_services;
};

struct reflection *reflection_new(const struct rpc_service *services, size_t n)
{
    struct reflection *reflection = ALLOC(struct reflection);
    reflection->symbols = symbols_new(span_of(prism_descriptor_set, prism_descriptor_set_len));
    reflection->services = services;
    reflection->n_services = n;
    return reflection;
}

void reflection_free(struct reflection *reflection)
{
    if (reflection == NULL) {
        return;
    }
    symbols_free(reflection->symbols);
    free(reflection);
}

/* --- answers ------------------------------------------------------------------------------------
 */

static void answer_error(struct arena *arena, enum status_code code, const char *message,
                         Grpc__Reflection__V1__ServerReflectionResponse *reply)
{
    Grpc__Reflection__V1__ErrorResponse *error =
        ARENA_NEW(arena, Grpc__Reflection__V1__ErrorResponse);
    grpc__reflection__v1__error_response__init(error);
    error->error_code = (int32_t)code;
    error->error_message = arena_string(arena, span_str(message));
    reply->error_response = error;
    reply->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
}

static void answer_unknown(struct arena *arena, const char *asked,
                           Grpc__Reflection__V1__ServerReflectionResponse *reply)
{
    struct span shown = utf8_first(span_str(asked), 200);
    answer_error(arena, STATUS_NOT_FOUND,
                 arena_printf(arena, "not found: %.*s", (int)shown.len, shown.at), reply);
}

static void answer_file(const struct reflection *reflection, const struct symbols_file *file,
                        const char *asked, struct arena *arena,
                        Grpc__Reflection__V1__ServerReflectionResponse *reply)
{
    if (file == NULL) {
        answer_unknown(arena, asked, reply);
        return;
    }
    struct span *files;
    Grpc__Reflection__V1__FileDescriptorResponse *answer =
        ARENA_NEW(arena, Grpc__Reflection__V1__FileDescriptorResponse);
    grpc__reflection__v1__file_descriptor_response__init(answer);
    answer->n_file_descriptor_proto = symbols_closure(reflection->symbols, file, arena, &files);
    answer->file_descriptor_proto =
        ARENA_ARRAY(arena, ProtobufCBinaryData, answer->n_file_descriptor_proto);
    for (size_t i = 0; i < answer->n_file_descriptor_proto; i++) {
        /* Packing only reads. */
        answer->file_descriptor_proto[i].data = (uint8_t *)(uintptr_t)files[i].at;
        answer->file_descriptor_proto[i].len = files[i].len;
    }
    reply->file_descriptor_response = answer;
    reply->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
}

/* Plain proto3: there are no extensions in our protos. */
static void answer_extensions(const struct reflection *reflection, char *type, struct arena *arena,
                              Grpc__Reflection__V1__ServerReflectionResponse *reply)
{
    if (symbols_file_of(reflection->symbols, span_str(type)) == NULL) {
        answer_unknown(arena, type, reply);
        return;
    }
    Grpc__Reflection__V1__ExtensionNumberResponse *answer =
        ARENA_NEW(arena, Grpc__Reflection__V1__ExtensionNumberResponse);
    grpc__reflection__v1__extension_number_response__init(answer);
    answer->base_type_name = type;
    reply->all_extension_numbers_response = answer;
    reply->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ALL_EXTENSION_NUMBERS_RESPONSE;
}

static void answer_services(const struct reflection *reflection, struct arena *arena,
                            Grpc__Reflection__V1__ServerReflectionResponse *reply)
{
    Grpc__Reflection__V1__ListServiceResponse *answer =
        ARENA_NEW(arena, Grpc__Reflection__V1__ListServiceResponse);
    grpc__reflection__v1__list_service_response__init(answer);
    answer->service =
        ARENA_ARRAY(arena, Grpc__Reflection__V1__ServiceResponse *, reflection->n_services);
    for (size_t i = 0; i < reflection->n_services; i++) {
        Grpc__Reflection__V1__ServiceResponse *service =
            ARENA_NEW(arena, Grpc__Reflection__V1__ServiceResponse);
        grpc__reflection__v1__service_response__init(service);
        service->name = arena_string(arena, span_str(reflection->services[i].descriptor->name));
        answer->service[answer->n_service++] = service;
    }
    reply->list_services_response = answer;
    reply->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
}

static void answer(const struct reflection *reflection,
                   const Grpc__Reflection__V1__ServerReflectionRequest *request,
                   struct arena *arena, Grpc__Reflection__V1__ServerReflectionResponse *reply)
{
    const struct symbols *symbols = reflection->symbols;
    switch (request->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        answer_file(reflection, symbols_file_named(symbols, span_str(request->file_by_filename)),
                    request->file_by_filename, arena, reply);
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        answer_file(reflection, symbols_file_of(symbols, span_str(request->file_containing_symbol)),
                    request->file_containing_symbol, arena, reply);
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
        answer_unknown(arena, request->file_containing_extension->containing_type, reply);
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
        answer_extensions(reflection, request->all_extension_numbers_of_type, arena, reply);
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        answer_services(reflection, arena, reply);
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__NOT_SET:
    case _GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__CASE_IS_INT_SIZE:
        answer_error(arena, STATUS_INVALID_ARGUMENT, "the request asks for nothing known", reply);
        return;
    }
}

static struct status reflect(struct rpc *rpc, const void *first)
{
    (void)first;
    struct reflection *reflection = rpc_service(rpc);
    TRY(rpc_stand(rpc));
    for (;;) {
        const void *message;
        TRY(rpc_recv(rpc, &message));
        if (message == NULL) {
            return STATUS_SUCCESS;
        }
        CLEANUP(arena_drop) struct arena *arena = arena_new(ANSWER_MOST);
        Grpc__Reflection__V1__ServerReflectionResponse reply =
            GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
        /* Packing only reads. */
        reply.original_request =
            (Grpc__Reflection__V1__ServerReflectionRequest *)(uintptr_t)message;
        reply.valid_host = reply.original_request->host;
        answer(reflection, message, arena, &reply);
        TRY(rpc_send(rpc, &reply));
    }
}

static const struct rpc_method methods[] = {{"ServerReflectionInfo", RPC_BIDI, reflect}};

void reflection_services(struct reflection *reflection,
                         struct rpc_service rows[REFLECTION_SERVICES])
{
    rows[0] = (struct rpc_service){
        .descriptor = &grpc__reflection__v1__server_reflection__descriptor,
        .methods = methods,
        .n_methods = ARRAY_LEN(methods),
        .service = reflection,
    };
    rows[1] = rows[0];
    rows[1].descriptor = &grpc__reflection__v1alpha__server_reflection__descriptor;
}
