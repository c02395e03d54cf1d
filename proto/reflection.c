/* reflection.c - an index over compiled .proto files, and the questions that it answers */
#include "proto/reflection.h"

#include <grpc/reflection/v1/reflection.pb-c.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "proto/descriptor.pb-c.h"
#include "proto/message.h"

enum { FILE_NONE = -1 };

struct symbol {
    char *name; /* full, without a dot before it */
    int file;
};

struct reflection {
    Massv__Descriptor__FileSet *set; /* each file's bytes, as they are sent */
    Massv__Descriptor__File **files; /* the same, read */
    int n_files;
    struct symbol *symbols;
    int n_symbols;
    char **services; /* the names that symbols have */
    int n_services;
};

/* ---- the index ---- */

static char *symbol_add(struct reflection *r, int file, const char *scope, const char *name)
{
    char *full = *scope ? mem_format("%s.%s", scope, name) : mem_string(name);
    r->symbols = mem_grow(r->symbols, (size_t)r->n_symbols + 1, sizeof *r->symbols);
    r->symbols[r->n_symbols++] = (struct symbol){full, file};
    return full;
}

static void items_add(struct reflection *r, int file, const char *scope, Massv__Descriptor__Item *const *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        symbol_add(r, file, scope, items[i]->name);
}

/* An enum's values stand beside it, not in it. */
static void enums_add(struct reflection *r, int file, const char *scope, Massv__Descriptor__Enum *const *enums, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        symbol_add(r, file, scope, enums[i]->name);
        items_add(r, file, scope, enums[i]->value, enums[i]->n_value);
    }
}

static void messages_add(struct reflection *r, int file, const char *scope, Massv__Descriptor__Message *const *messages, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const Massv__Descriptor__Message *m = messages[i];
        const char *name = symbol_add(r, file, scope, m->name);
        items_add(r, file, name, m->field, m->n_field);
        items_add(r, file, name, m->oneof_decl, m->n_oneof_decl);
        enums_add(r, file, name, m->enum_type, m->n_enum_type);
        messages_add(r, file, name, m->nested_type, m->n_nested_type);
    }
}

static void services_add(struct reflection *r, int file, const Massv__Descriptor__File *f)
{
    for (size_t i = 0; i < f->n_service; i++) {
        char *name = symbol_add(r, file, f->package, f->service[i]->name);
        items_add(r, file, name, f->service[i]->method, f->service[i]->n_method);
        r->services = mem_grow(r->services, (size_t)r->n_services + 1, sizeof *r->services);
        r->services[r->n_services++] = name;
    }
}

static int file_find(const struct reflection *r, const char *name)
{
    for (int i = 0; i < r->n_files; i++)
        if (strcmp(r->files[i]->name, name) == 0)
            return i;
    return FILE_NONE;
}

static int symbol_find(const struct reflection *r, const char *name)
{
    for (int i = 0; i < r->n_symbols; i++)
        if (strcmp(r->symbols[i].name, name) == 0)
            return r->symbols[i].file;
    return FILE_NONE;
}

static int files_read(struct reflection *r, struct error *err)
{
    r->files = mem_new(r->set->n_file, sizeof *r->files);
    for (size_t i = 0; i < r->set->n_file; i++) {
        const ProtobufCBinaryData *bytes = &r->set->file[i];
        r->files[i] = massv__descriptor__file__unpack(NULL, bytes->len, bytes->data);
        if (!r->files[i])
            return fail(err, "descriptors: file %zu is broken", i);
        r->n_files++;
    }
    for (int i = 0; i < r->n_files; i++)
        for (size_t k = 0; k < r->files[i]->n_dependency; k++)
            if (file_find(r, r->files[i]->dependency[k]) == FILE_NONE)
                return fail(err, "descriptors: %s imports %s, which is not here", r->files[i]->name, r->files[i]->dependency[k]);
    return 0;
}

int reflection_open(struct reflection **out, struct rpc_bytes files, struct error *err)
{
    struct reflection *r = mem_new(1, sizeof *r);
    *out = NULL;
    r->set = massv__descriptor__file_set__unpack(NULL, files.size, files.data);
    if (!r->set || files_read(r, err) != 0) {
        if (!r->set)
            fail(err, "descriptors: not a FileDescriptorSet");
        reflection_close(r);
        return -1;
    }
    for (int i = 0; i < r->n_files; i++) {
        const Massv__Descriptor__File *f = r->files[i];
        messages_add(r, i, f->package, f->message_type, f->n_message_type);
        enums_add(r, i, f->package, f->enum_type, f->n_enum_type);
        services_add(r, i, f);
    }
    *out = r;
    return 0;
}

void reflection_close(struct reflection *r)
{
    if (!r)
        return;
    for (int i = 0; i < r->n_symbols; i++)
        free(r->symbols[i].name);
    for (int i = 0; i < r->n_files; i++)
        massv__descriptor__file__free_unpacked(r->files[i], NULL);
    if (r->set)
        massv__descriptor__file_set__free_unpacked(r->set, NULL);
    free(r->services);
    free(r->symbols);
    free(r->files);
    free(r);
}

/* ---- answers ---- */

struct answer { /* the parts of a response that is being put together */
    Grpc__Reflection__V1__ServerReflectionResponse message;
    Grpc__Reflection__V1__FileDescriptorResponse files;
    Grpc__Reflection__V1__ListServiceResponse list;
    Grpc__Reflection__V1__ServiceResponse *services;
    Grpc__Reflection__V1__ErrorResponse error;
    struct error text;
};

static void answer_refuse(struct answer *a, enum rpc_status code)
{
    a->message.message_response_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    a->message.error_response = &a->error;
    a->error.error_code = (int32_t)code;
    a->error.error_message = a->text.text;
}

static void services_list(struct answer *a, const struct reflection *r)
{
    size_t n = (size_t)r->n_services;
    a->message.message_response_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    a->message.list_services_response = &a->list;
    a->services = mem_new(n, sizeof *a->services);
    a->list.service = mem_new(n, sizeof *a->list.service);
    a->list.n_service = n;
    for (size_t i = 0; i < n; i++) {
        grpc__reflection__v1__service_response__init(&a->services[i]);
        a->services[i].name = r->services[i];
        a->list.service[i] = &a->services[i];
    }
}

/* A file, then what it imports, each once. */
static void file_put(struct answer *a, const struct reflection *r, int file, bool *there)
{
    const Massv__Descriptor__File *f = r->files[file];
    if (there[file])
        return;
    there[file] = true;
    a->files.file_descriptor_proto[a->files.n_file_descriptor_proto++] = r->set->file[file];
    for (size_t i = 0; i < f->n_dependency; i++)
        file_put(a, r, file_find(r, f->dependency[i]), there);
}

static void files_give(struct answer *a, const struct reflection *r, int file, const char *what, const char *name)
{
    if (file == FILE_NONE) {
        fail(&a->text, "%s: \"%.200s\" is not here", what, name);
        answer_refuse(a, RPC_NOT_FOUND);
        return;
    }
    bool *there = mem_new((size_t)r->n_files, sizeof *there);
    a->message.message_response_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    a->message.file_descriptor_response = &a->files;
    a->files.file_descriptor_proto = mem_new((size_t)r->n_files, sizeof *a->files.file_descriptor_proto);
    file_put(a, r, file, there);
    free(there);
}

static void answer_make(struct answer *a, const struct reflection *r, const Grpc__Reflection__V1__ServerReflectionRequest *m)
{
    switch (m->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        services_list(a, r);
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        files_give(a, r, file_find(r, m->file_by_filename), "file_by_filename", m->file_by_filename);
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        files_give(a, r, symbol_find(r, m->file_containing_symbol), "file_containing_symbol", m->file_containing_symbol);
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__NOT_SET:
        fail(&a->text, "message_request: one of list_services, file_by_filename and file_containing_symbol must be there");
        answer_refuse(a, RPC_INVALID_ARGUMENT);
        return;
    default:
        fail(&a->text, "the files here are proto3: they have no extensions");
        answer_refuse(a, RPC_UNIMPLEMENTED);
    }
}

int reflection_answer(const struct reflection *r, const void *data, size_t size, struct rpc_bytes *bytes, struct error *err)
{
    Grpc__Reflection__V1__ServerReflectionRequest *m =
        message_unpack(&grpc__reflection__v1__server_reflection_request__descriptor, data, size, err);
    struct answer a = {.services = NULL};
    *bytes = (struct rpc_bytes){NULL, 0};
    if (!m)
        return -1;
    grpc__reflection__v1__server_reflection_response__init(&a.message);
    grpc__reflection__v1__file_descriptor_response__init(&a.files);
    grpc__reflection__v1__list_service_response__init(&a.list);
    grpc__reflection__v1__error_response__init(&a.error);
    a.message.valid_host = m->host;
    a.message.original_request = m;
    answer_make(&a, r, m);
    message_pack(&a.message.base, bytes);
    free(a.files.file_descriptor_proto);
    free(a.list.service);
    free(a.services);
    grpc__reflection__v1__server_reflection_request__free_unpacked(m, NULL);
    return 0;
}
