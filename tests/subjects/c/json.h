/* JSON: a parser for values in memory, and a growing text to write into. Everything lives in one arena until `arena_reset`. */
#ifndef JSON_H
#define JSON_H

#include <ctype.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- memory: given out piece by piece, taken back all at once ------------------------------------------------------------ */

typedef struct Block { struct Block *next; } Block;
static Block *arena;

static void *take(size_t bytes) {
    Block *block = calloc(1, sizeof(Block) + bytes + 16);
    if (!block) { fprintf(stderr, "out of memory\n"); exit(3); }
    block->next = arena;
    arena = block;
    return (char *)block + 16;
}

static void arena_reset(void) {
    while (arena) { Block *next = arena->next; free(arena); arena = next; }
}

/* --- failing: back to the request that is answered ------------------------------------------------------------------------ */

static jmp_buf answer_with;
static int is_unsupported;
static char reason[256];

static void fail(int unsupported, const char *format, ...) {
    va_list more;
    va_start(more, format);
    vsnprintf(reason, sizeof reason, format, more);
    va_end(more);
    is_unsupported = unsupported;
    longjmp(answer_with, 1);
}

#define UNSUPPORTED(...) fail(1, __VA_ARGS__)
#define FAIL(...) fail(0, __VA_ARGS__)

/* --- values ------------------------------------------------------------------------------------------------------------------ */

typedef enum { NUL, FALSE_, TRUE_, NUMBER, STRING, ARRAY, OBJECT } Kind;

typedef struct Json {
    Kind kind;
    double number;
    char *text;         /* of a string */
    char **names;       /* of an object's members */
    struct Json *items; /* of an array, or an object's values */
    int count;
} Json;

static Json parse_value(const char **at);

static void skip(const char **at) { while (isspace((unsigned char)**at)) ++*at; }

static void expect(const char **at, char wanted) {
    skip(at);
    if (**at != wanted) FAIL("JSON: '%c' expected, got '%.20s'", wanted, *at);
    ++*at;
}

static char *parse_string(const char **at) {
    expect(at, '"');
    size_t length = 0;
    while ((*at)[length] && (*at)[length] != '"') length += (*at)[length] == '\\' ? 2 : 1;
    char *text = take(length + 1), *to = text;
    while (**at && **at != '"') {
        if (**at != '\\') { *to++ = *(*at)++; continue; }
        char c = *++*at;
        if (c == 'u') { /* names in the oracle's requests are ASCII; anything else only passes through messages */
            *to++ = '?';
            *at += 5;
            continue;
        }
        *to++ = c == 'n' ? '\n' : c == 't' ? '\t' : c;
        ++*at;
    }
    expect(at, '"');
    return text;
}

static void grow(Json *value, int *room) {
    if (value->count < *room) return;
    int wider = *room ? 2 * *room : 8;
    Json *items = take(wider * sizeof(Json));
    char **names = take(wider * sizeof(char *));
    if (value->count) {
        memcpy(items, value->items, value->count * sizeof(Json));
        memcpy(names, value->names, value->count * sizeof(char *));
    }
    value->items = items, value->names = names, *room = wider;
}

static Json parse_members(const char **at, Kind kind, char close) {
    Json value = {.kind = kind};
    int room = 0;
    ++*at;
    skip(at);
    if (**at == close) { ++*at; return value; }
    for (;;) {
        grow(&value, &room);
        if (kind == OBJECT) { value.names[value.count] = parse_string(at); expect(at, ':'); }
        value.items[value.count++] = parse_value(at);
        skip(at);
        if (**at != ',') break;
        ++*at;
        skip(at);
    }
    expect(at, close);
    return value;
}

static Json parse_value(const char **at) {
    skip(at);
    if (**at == '{') return parse_members(at, OBJECT, '}');
    if (**at == '[') return parse_members(at, ARRAY, ']');
    if (**at == '"') return (Json){.kind = STRING, .text = parse_string(at)};
    if (!strncmp(*at, "null", 4)) { *at += 4; return (Json){.kind = NUL}; }
    if (!strncmp(*at, "true", 4)) { *at += 4; return (Json){.kind = TRUE_, .number = 1}; }
    if (!strncmp(*at, "false", 5)) { *at += 5; return (Json){.kind = FALSE_}; }
    char *end;
    double number = strtod(*at, &end);
    if (end == *at) FAIL("JSON: a value expected, got '%.20s'", *at);
    *at = end;
    return (Json){.kind = NUMBER, .number = number};
}

static const Json NOTHING = {.kind = NUL};

static const Json *get(const Json *object, const char *name) {
    for (int i = 0; object->kind == OBJECT && i < object->count; i++)
        if (!strcmp(object->names[i], name)) return &object->items[i];
    return &NOTHING;
}

/* A number, or one of the three that JSON lacks, which come as strings. */
static double number_of(const Json *value) {
    if (value->kind != STRING) return value->number;
    return !strcmp(value->text, "NaN") ? NAN : value->text[0] == '-' ? -INFINITY : INFINITY;
}

/* --- a text that grows -------------------------------------------------------------------------------------------------------- */

typedef struct { char *data; size_t length, room; } Text;

static void append(Text *text, const void *data, size_t length) {
    if (text->length + length + 1 > text->room) {
        text->room = 2 * (text->length + length + 1);
        text->data = realloc(text->data, text->room);
        if (!text->data) { fprintf(stderr, "out of memory\n"); exit(3); }
    }
    memcpy(text->data + text->length, data, length);
    text->data[text->length += length] = 0;
}

static void write_text(Text *text, const char *format, ...) {
    char line[1024];
    va_list more;
    va_start(more, format);
    int length = vsnprintf(line, sizeof line, format, more);
    va_end(more);
    append(text, line, length < (int)sizeof line ? (size_t)length : sizeof line - 1);
}

/* Seventeen digits bring every double back, nine every float. */
static void write_number(Text *text, double value, int digits) {
    if (isnan(value)) write_text(text, "\"NaN\"");
    else if (isinf(value)) write_text(text, value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    else write_text(text, "%.*g", digits, value);
}

static void write_quoted(Text *text, const char *string) {
    append(text, "\"", 1);
    for (; *string; string++) {
        if (*string == '"' || *string == '\\') append(text, "\\", 1);
        append(text, (unsigned char)*string < ' ' ? " " : string, 1);
    }
    append(text, "\"", 1);
}

#endif
