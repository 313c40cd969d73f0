/* Arrays on their way in and out: as JSON objects in a line, or as safetensors in a file. PROTOCOL.md describes both. */
#ifndef ARRAYS_H
#define ARRAYS_H

#include <stdint.h>

#include "json.h"

#define MAX_RANK 8
enum { DOUBLE_DIGITS = 17, FLOAT_DIGITS = 9 };

/* What came in, whatever its dtype, as doubles: they hold every float, index and mask exactly. */
typedef struct {
    const char *name;
    int rank;
    long shape[MAX_RANK], size;
    double *data;
} Array;

typedef struct { Array *items; int count; } Arrays;

static void set_shape(Array *array, const Json *shape) {
    if (shape->kind != ARRAY || shape->count > MAX_RANK) FAIL("%s: no shape of up to %d sizes", array->name, MAX_RANK);
    array->rank = shape->count, array->size = 1;
    for (int i = 0; i < shape->count; i++) array->size *= array->shape[i] = (long)shape->items[i].number;
}

static Arrays arrays_of_json(const Json *objects) {
    Arrays all = {take(objects->count * sizeof(Array) + 1), objects->count};
    for (int i = 0; i < objects->count; i++) {
        Array *array = &all.items[i];
        const Json *data = get(&objects->items[i], "data");
        array->name = objects->names[i];
        set_shape(array, get(&objects->items[i], "shape"));
        if (data->count != array->size) FAIL("%s: %d numbers for %ld elements", array->name, data->count, array->size);
        array->data = take(array->size * sizeof(double));
        for (long j = 0; j < array->size; j++) array->data[j] = number_of(&data->items[j]);
    }
    return all;
}

static double number_at(const char *bytes, const char *dtype, long index) {
    if (!strcmp(dtype, "F64")) { double v; memcpy(&v, bytes + 8 * index, 8); return v; }
    if (!strcmp(dtype, "F32")) { float v; memcpy(&v, bytes + 4 * index, 4); return v; }
    if (!strcmp(dtype, "I64")) { int64_t v; memcpy(&v, bytes + 8 * index, 8); return (double)v; }
    if (!strcmp(dtype, "BOOL")) return bytes[index] != 0;
    UNSUPPORTED("no arrays of %s", dtype);
    return 0;
}

/* A whole file, with a zero behind it. */
static char *contents(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    if (!file) FAIL("cannot read %s", path);
    fseek(file, 0, SEEK_END);
    *length = (size_t)ftell(file);
    rewind(file);
    char *data = take(*length + 1);
    if (fread(data, 1, *length, file) != *length) FAIL("cannot read %s", path);
    fclose(file);
    return data;
}

/* Eight bytes say how long the header is, the header where each array's bytes lie behind it. */
static Arrays arrays_of_file(const char *path) {
    size_t length;
    uint64_t header_length;
    char *file = contents(path, &length);
    memcpy(&header_length, file, 8);
    char *header_text = take(header_length + 1), *body = file + 8 + header_length;
    const char *at = memcpy(header_text, file + 8, header_length);
    Json header = parse_value(&at);
    Arrays all = {take(header.count * sizeof(Array) + 1), 0};
    for (int i = 0; i < header.count; i++) {
        if (!strcmp(header.names[i], "__metadata__")) continue;
        const Json *entry = &header.items[i];
        Array *array = &all.items[all.count++];
        array->name = header.names[i];
        set_shape(array, get(entry, "shape"));
        array->data = take(array->size * sizeof(double));
        const char *bytes = body + (long)get(entry, "data_offsets")->items[0].number;
        for (long j = 0; j < array->size; j++) array->data[j] = number_at(bytes, get(entry, "dtype")->text, j);
    }
    return all;
}

static const Array *find(const Arrays *all, const char *format, ...) {
    char name[512];
    va_list more;
    va_start(more, format);
    vsnprintf(name, sizeof name, format, more);
    va_end(more);
    for (int i = 0; i < all->count; i++)
        if (!strcmp(all->items[i].name, name)) return &all->items[i];
    return NULL;
}

/* How many entries a field has that comes per step: they are cycled through. */
static int entries(const Arrays *all, const char *field) {
    int most = 0;
    size_t length = strlen(field);
    for (int i = 0; i < all->count; i++) {
        const char *name = all->items[i].name;
        if (strncmp(name, field, length) || name[length] != '/') continue;
        int index = atoi(name + length + 1) + 1;
        if (index > most) most = index;
    }
    return most;
}

/* --- what goes out --------------------------------------------------------------------------------------------------------------- */

typedef struct {
    int in_file;         /* as safetensors, or else as JSON */
    Text header, body;   /* of JSON only the first */
    int count;
} Output;

static void emit(Output *out, const char *name, int rank, const long *shape, long size, const void *data, size_t width) {
    write_text(&out->header, out->count++ ? "," : "{");
    write_quoted(&out->header, name);
    write_text(&out->header, out->in_file ? ":{\"dtype\":\"%s\",\"shape\":[" : ":{\"shape\":[", width == 8 ? "F64" : "F32");
    for (int i = 0; i < rank; i++) write_text(&out->header, i ? ",%ld" : "%ld", shape[i]);
    if (out->in_file) {
        write_text(&out->header, "],\"data_offsets\":[%zu,%zu]}", out->body.length, out->body.length + size * width);
        append(&out->body, data, size * width);
        return;
    }
    write_text(&out->header, "],\"data\":[");
    for (long i = 0; i < size; i++) {
        if (i) append(&out->header, ",", 1);
        if (width == 8) write_number(&out->header, ((const double *)data)[i], DOUBLE_DIGITS);
        else write_number(&out->header, ((const float *)data)[i], FLOAT_DIGITS);
    }
    write_text(&out->header, "]}");
}

static void close_output(Output *out) { write_text(&out->header, out->count ? "}" : "{}"); }

static void write_file(const Output *out, const char *path) {
    FILE *file = fopen(path, "wb");
    uint64_t length = out->header.length;
    if (!file) FAIL("cannot write %s", path);
    fwrite(&length, 8, 1, file);
    fwrite(out->header.data, 1, out->header.length, file);
    if (out->body.length) fwrite(out->body.data, 1, out->body.length, file);
    if (fclose(file)) FAIL("cannot write %s", path);
}

static void clear(Output *out) {
    free(out->header.data);
    free(out->body.data);
    *out = (Output){.in_file = out->in_file};
}

#endif
