/* Backpropagation in C, with nothing but its standard library: a program for `oracle run --subject-command` (PROTOCOL.md).
 *
 *   gcc -O2 -o backprop backprop.c -lm
 *   backprop                    answers requests, arrays as JSON
 *   backprop --safetensors      the same, arrays in files
 *   backprop DIR RESULTS        fills RESULTS from a folder of vectors
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "arrays.h"

/* --- options that both precisions read ---------------------------------------------------------------------------------------- */

static long one_of_pair(const Json *value, int index) {
    if (value->kind == ARRAY) return (long)value->items[index].number;
    return (long)value->number;
}

/* Where windows lie on an image (H, W): P × Q positions of kh × kw taps. */
typedef struct { long H, W, P, Q, kh, kw, sh, sw, ph, pw, dh, dw, groups; } Window;

#define FOR_POSITIONS(at) for (long p = 0; p < (at).P; p++) for (long q = 0; q < (at).Q; q++)
#define FOR_TAPS(at) for (long k = 0; k < (at).kh; k++) for (long l = 0; l < (at).kw; l++)
#define ROW(at) (p * (at).sh - (at).ph + k * (at).dh)
#define COLUMN(at) (q * (at).sw - (at).pw + l * (at).dw)
#define INSIDE(at) (ROW(at) >= 0 && ROW(at) < (at).H && COLUMN(at) >= 0 && COLUMN(at) < (at).W)
#define PIXEL(at) (ROW(at) * (at).W + COLUMN(at))

static Window window_of(const Json *options, const Json *stride, int rank, const long *shape, long kh, long kw) {
    const Json *padding = get(options, "padding"), *dilation = get(options, "dilation");
    Window at = {.H = shape[rank - 2], .W = shape[rank - 1], .kh = kh, .kw = kw, .dh = 1, .dw = 1, .groups = 1};
    at.sh = one_of_pair(stride, 0), at.sw = one_of_pair(stride, 1);
    at.ph = one_of_pair(padding, 0), at.pw = one_of_pair(padding, 1);
    if (dilation->kind != NUL) at.dh = one_of_pair(dilation, 0), at.dw = one_of_pair(dilation, 1);
    at.P = (at.H + 2 * at.ph - at.dh * (kh - 1) - 1) / at.sh + 1;
    at.Q = (at.W + 2 * at.pw - at.dw * (kw - 1) - 1) / at.sw + 1;
    return at;
}

static Window conv_window(const Json *options, int rank, const long *shape, const long *weight) {
    if (rank != 4) UNSUPPORTED("no Conv2d without a batch");
    if (get(options, "padding")->kind == STRING) UNSUPPORTED("no Conv2d with padding by name");
    if (strcmp(get(options, "padding_mode")->text, "zeros")) UNSUPPORTED("no Conv2d with another padding_mode than zeros");
    Window at = window_of(options, get(options, "stride"), rank, shape, weight[2], weight[3]);
    at.groups = (long)get(options, "groups")->number;
    return at;
}

static Window pool_window(const Json *options, int rank, const long *shape) {
    const Json *kernel = get(options, "kernel_size"), *stride = get(options, "stride");
    if (get(options, "ceil_mode")->kind == TRUE_) UNSUPPORTED("no pooling with ceil_mode");
    if (get(options, "return_indices")->kind == TRUE_) UNSUPPORTED("no pooling with return_indices");
    return window_of(options, stride->kind == NUL ? kernel : stride, rank, shape, one_of_pair(kernel, 0), one_of_pair(kernel, 1));
}

static int dimension(const Json *options, const char *name, int rank) {
    int given = (int)get(options, name)->number;
    return given < 0 ? given + rank : given;
}

/* Whether it is MSELoss; CrossEntropyLoss otherwise. */
static int loss_kind(const Json *loss, int rank, const Array *target, int has_upstream) {
    const Json *options = get(loss, "options");
    const char *type = get(loss, "type")->text, *reduction = get(options, "reduction")->text;
    if (strcmp(reduction, "mean") && strcmp(reduction, "sum")) UNSUPPORTED("no %s with reduction=%s", type, reduction);
    if (has_upstream) UNSUPPORTED("no loss with an upstream gradient");
    if (!strcmp(type, "MSELoss")) return 1;
    if (strcmp(type, "CrossEntropyLoss")) UNSUPPORTED("no %s", type);
    if (rank != 2 || target->rank != 1) UNSUPPORTED("no CrossEntropyLoss of anything but rows and classes");
    if (get(options, "weight")->kind != NUL) UNSUPPORTED("no CrossEntropyLoss with weights");
    if (get(options, "label_smoothing")->number != 0) UNSUPPORTED("no CrossEntropyLoss with label_smoothing");
    for (long i = 0; i < target->size; i++)
        if (target->data[i] == get(options, "ignore_index")->number) UNSUPPORTED("no CrossEntropyLoss with ignored rows");
    return 0;
}

typedef struct { double lr, momentum, dampening, weight_decay; int nesterov, maximize; } Sgd;

static void take_options(Sgd *sgd, const Json *options) {
    const Json *value;
    if ((value = get(options, "lr"))->kind == NUMBER) sgd->lr = value->number;
    if ((value = get(options, "momentum"))->kind == NUMBER) sgd->momentum = value->number;
    if ((value = get(options, "dampening"))->kind == NUMBER) sgd->dampening = value->number;
    if ((value = get(options, "weight_decay"))->kind == NUMBER) sgd->weight_decay = value->number;
    if ((value = get(options, "nesterov"))->kind != NUL) sgd->nesterov = value->kind == TRUE_;
    if ((value = get(options, "maximize"))->kind != NUL) sgd->maximize = value->kind == TRUE_;
}

/* A parameter's options: the optimizer's, and over them those of its group. */
static Sgd sgd_for(const Json *optimizer, const char *param) {
    Sgd sgd = {0};
    const Json *groups = get(optimizer, "groups");
    if (strcmp(get(optimizer, "type")->text, "SGD")) UNSUPPORTED("no %s", get(optimizer, "type")->text);
    take_options(&sgd, get(optimizer, "options"));
    for (int i = 0; i < groups->count; i++) {
        const Json *names = get(&groups->items[i], "params");
        for (int j = 0; j < names->count; j++)
            if (!strcmp(names->items[j].text, param)) take_options(&sgd, &groups->items[i]);
    }
    return sgd;
}

/* --- the network, once for each precision ---------------------------------------------------------------------------------------- */

#define REAL double
#define OF(name) name##_double
#include "network.h"
#undef REAL
#undef OF
#define REAL float
#define OF(name) name##_float
#include "network.h"

static void run_case(const Json *description, const Arrays *arrays, Output *out) {
    const char *dtype = get(description, "dtype")->text;
    if (!strcmp(dtype, "float64")) run_double(description, arrays, out);
    else if (!strcmp(dtype, "float32")) run_float(description, arrays, out);
    else UNSUPPORTED("no %s", dtype);
    close_output(out);
}

/* --- the conversation --------------------------------------------------------------------------------------------------------------- */

#define SUPPORTS                                                                                                             \
    "\"supports\":[\"Linear\",\"Conv2d\",\"MaxPool2d\",\"AvgPool2d\",\"ReLU\",\"Sigmoid\",\"Tanh\",\"Flatten\",\"MSELoss\"," \
    "\"CrossEntropyLoss\",\"SGD\"],\"dtypes\":[\"float64\",\"float32\"]"

static void say_hello(FILE *to, int in_files) {
    fprintf(to, "{\"protocol\":1,\"name\":\"backprop.c\"," SUPPORTS ",\"arrays\":\"%s\"}\n", in_files ? "safetensors" : "json");
}

static void answer_run(const Json *request, Output *out) {
    const Json *sent = get(request, "arrays");
    Arrays arrays = out->in_file ? arrays_of_file(sent->text) : arrays_of_json(sent);
    run_case(get(request, "case"), &arrays, out);
    printf("{\"id\":%.0f,\"trace\":", get(request, "id")->number);
    if (out->in_file) {
        write_file(out, get(request, "answer")->text);
        Text path = {0};
        write_quoted(&path, get(request, "answer")->text);
        fputs(path.data, stdout);
        free(path.data);
    } else {
        fputs(out->header.data, stdout);
    }
    puts("}");
}

static void answer_failure(double id) {
    Text text = {0};
    write_quoted(&text, reason);
    printf("{\"id\":%.0f,\"%s\":%s}\n", id, is_unsupported ? "unsupported" : "error", text.data);
    free(text.data);
}

static void converse(int in_files) {
    static char *line;
    static size_t room;
    static double id;
    static Output out;
    out.in_file = in_files;
    while (getline(&line, &room, stdin) > 0) {
        id = -1;
        if (!setjmp(answer_with)) {
            const char *at = line;
            Json request = parse_value(&at);
            const Json *asked = get(&request, "request");
            id = get(&request, "id")->number;
            if (asked->kind == STRING && !strcmp(asked->text, "hello")) say_hello(stdout, in_files);
            else answer_run(&request, &out);
        } else {
            answer_failure(id);
        }
        fflush(stdout);
        clear(&out);
        arena_reset();
    }
    free(line);
}

/* --- a folder of vectors ------------------------------------------------------------------------------------------------------------ */

static void make_folders(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(path, 0777) && errno != EEXIST) FAIL("cannot make %s", path);
        *slash = '/';
    }
}

static char *joined(const char *folder, const char *name) {
    char *path = take(strlen(folder) + strlen(name) + 2);
    sprintf(path, "%s/%s", folder, name);
    return path;
}

static char results_path[4096]; /* of the case at hand */

static void fill_case(const char *folder, const char *results, const Json *entry, Output *out) {
    size_t length;
    snprintf(results_path, sizeof results_path, "%s/%s", results, get(entry, "results")->text);
    make_folders(results_path);
    const char *at = contents(joined(folder, get(entry, "description")->text), &length);
    Json description = parse_value(&at);
    Arrays arrays = arrays_of_file(joined(folder, get(entry, "arrays")->text));
    run_case(&description, &arrays, out);
    write_file(out, results_path);
}

/* What it lacks, beside the place of the results that there are not. */
static void write_note(void) {
    strncat(results_path, ".unsupported", sizeof results_path - strlen(results_path) - 1);
    FILE *file = fopen(results_path, "w");
    if (!file) return;
    fprintf(file, "%s\n", reason);
    fclose(file);
}

/* What it introduces itself with, where the judge looks for it. */
static void write_introduction(const char *results) {
    char *path = joined(results, "introduction.json");
    make_folders(path);
    FILE *file = fopen(path, "w");
    if (!file) FAIL("cannot write %s", path);
    say_hello(file, 1);
    fclose(file);
}

static int fill(const char *folder, const char *results) {
    static Output out = {.in_file = 1};
    static volatile int i, filled, left_out;
    for (i = 0; i >= 0; i++) { /* the manifest is read again for each case: the arena holds one at a time */
        if (!setjmp(answer_with)) {
            size_t length;
            const char *at = contents(joined(folder, "manifest.json"), &length);
            Json manifest = parse_value(&at);
            const Json *cases = get(&manifest, "cases");
            if (i == 0) write_introduction(results);
            if (i == cases->count) break;
            fill_case(folder, results, &cases->items[i], &out);
            filled++;
        } else if (is_unsupported) {
            write_note();
            left_out++;
        } else {
            fprintf(stderr, "%s\n", reason);
            return 1;
        }
        clear(&out);
        arena_reset();
    }
    printf("%d cases filled, %d not supported\n", filled, left_out);
    return 0;
}

int main(int count, char **arguments) {
    if (count == 3) return fill(arguments[1], arguments[2]);
    converse(count == 2 && !strcmp(arguments[1], "--safetensors"));
    return 0;
}
