/* A network's training steps in one precision: included once with REAL as double and once as float.
 *
 * A layer keeps its input x and output y; backward gets dy, returns dx and adds to the gradients of its parameters.
 */

typedef struct { int rank; long shape[MAX_RANK], size; REAL *data; } OF(Tensor);
typedef struct { const char *name; OF(Tensor) value, grad, velocity; int has_velocity; } OF(Param);
typedef struct {
    const char *name, *owner, *type;
    const Json *options;
    OF(Param) *weight, *bias;
    OF(Tensor) x, y;
    long *winner; /* of a max pooling: where in x each y comes from */
} OF(Layer);
typedef struct {
    const Json *description;
    const Arrays *arrays;
    Output *out;
    OF(Layer) *layers;
    OF(Param) *params;
    int depth, param_count, step;
} OF(Run);

#define TENSOR OF(Tensor)
#define LAYER OF(Layer)

static TENSOR OF(zeros)(int rank, const long *shape) {
    TENSOR made = {.rank = rank, .size = 1};
    for (int i = 0; i < rank; i++) made.size *= made.shape[i] = shape[i];
    made.data = take(made.size * sizeof(REAL));
    return made;
}

static TENSOR OF(like)(const TENSOR *other) { return OF(zeros)(other->rank, other->shape); }

static TENSOR OF(tensor)(const Array *array) {
    TENSOR made = OF(zeros)(array->rank, array->shape);
    for (long i = 0; i < made.size; i++) made.data[i] = (REAL)array->data[i];
    return made;
}

/* --- Linear: y_i = Σ_j W_ij x_j + b_i;  dx = Wᵀ δ;  dW = δ xᵀ;  db = δ, each summed over the batch --------------------------- */

static TENSOR OF(linear)(LAYER *layer) {
    const TENSOR *x = &layer->x, *W = &layer->weight->value;
    long outputs = W->shape[0], inputs = W->shape[1], shape[MAX_RANK];
    memcpy(shape, x->shape, sizeof shape);
    shape[x->rank - 1] = outputs;
    TENSOR y = OF(zeros)(x->rank, shape);
    for (long n = 0; n < x->size / inputs; n++)
        for (long i = 0; i < outputs; i++) {
            REAL sum = 0;
            for (long j = 0; j < inputs; j++) sum += W->data[i * inputs + j] * x->data[n * inputs + j];
            y.data[n * outputs + i] = layer->bias ? sum + layer->bias->value.data[i] : sum;
        }
    return y;
}

static TENSOR OF(linear_backward)(LAYER *layer, const TENSOR *dy) {
    const TENSOR *x = &layer->x, *W = &layer->weight->value;
    long outputs = W->shape[0], inputs = W->shape[1];
    TENSOR dx = OF(like)(x);
    for (long n = 0; n < x->size / inputs; n++)
        for (long i = 0; i < outputs; i++) {
            REAL delta = dy->data[n * outputs + i];
            if (layer->bias) layer->bias->grad.data[i] += delta;
            for (long j = 0; j < inputs; j++) {
                dx.data[n * inputs + j] += W->data[i * inputs + j] * delta;
                layer->weight->grad.data[i * inputs + j] += delta * x->data[n * inputs + j];
            }
        }
    return dx;
}

/* --- Conv2d: y[o] = Σ_c w[o,c] ⋆ x[c] + b[o];  dx[c] = Σ_o w[o,c] * δ[o] (full);  dw[o,c] = Σ_n δ[o] ⋆ x[c];  db[o] = Σ δ[o] - */

static TENSOR OF(conv)(LAYER *layer) {
    const TENSOR *x = &layer->x, *w = &layer->weight->value;
    Window at = conv_window(layer->options, x->rank, x->shape, w->shape);
    long O = w->shape[0], c = w->shape[1], share = O / at.groups, shape[] = {x->shape[0], O, at.P, at.Q};
    TENSOR y = OF(zeros)(4, shape);
    REAL *to = y.data;
    for (long n = 0; n < x->shape[0]; n++)
        for (long o = 0; o < O; o++)
            FOR_POSITIONS(at) {
                REAL sum = 0;
                for (long j = 0; j < c; j++) {
                    const REAL *image = x->data + (n * x->shape[1] + o / share * c + j) * at.H * at.W;
                    const REAL *kernel = w->data + (o * c + j) * at.kh * at.kw;
                    FOR_TAPS(at) sum += *kernel++ * (INSIDE(at) ? image[PIXEL(at)] : 0);
                }
                *to++ = layer->bias ? sum + layer->bias->value.data[o] : sum;
            }
    return y;
}

static TENSOR OF(conv_backward)(LAYER *layer, const TENSOR *dy) {
    const TENSOR *x = &layer->x, *w = &layer->weight->value;
    Window at = conv_window(layer->options, x->rank, x->shape, w->shape);
    long O = w->shape[0], c = w->shape[1], share = O / at.groups;
    TENSOR dx = OF(like)(x);
    const REAL *from = dy->data;
    for (long n = 0; n < x->shape[0]; n++)
        for (long o = 0; o < O; o++)
            FOR_POSITIONS(at) {
                REAL delta = *from++;
                if (layer->bias) layer->bias->grad.data[o] += delta;
                for (long j = 0; j < c; j++) {
                    long image = (n * x->shape[1] + o / share * c + j) * at.H * at.W, tap = (o * c + j) * at.kh * at.kw;
                    FOR_TAPS(at) {
                        if (INSIDE(at)) {
                            dx.data[image + PIXEL(at)] += w->data[tap] * delta;
                            layer->weight->grad.data[tap] += delta * x->data[image + PIXEL(at)];
                        }
                        tap++;
                    }
                }
            }
    return dx;
}

/* --- MaxPool2d: y = max over the window;  δ goes to the first of the largest ------------------------------------------------- */

static TENSOR OF(pooled)(const LAYER *layer, const Window *at) {
    long shape[MAX_RANK];
    memcpy(shape, layer->x.shape, sizeof shape);
    shape[layer->x.rank - 2] = at->P, shape[layer->x.rank - 1] = at->Q;
    return OF(zeros)(layer->x.rank, shape);
}

static TENSOR OF(max_pool)(LAYER *layer) {
    const TENSOR *x = &layer->x;
    Window at = pool_window(layer->options, x->rank, x->shape);
    TENSOR y = OF(pooled)(layer, &at);
    long to = 0;
    layer->winner = take(y.size * sizeof(long));
    for (long plane = 0; plane < x->size; plane += at.H * at.W)
        FOR_POSITIONS(at) {
            long best = -1;
            FOR_TAPS(at) if (INSIDE(at)) {
                REAL value = x->data[plane + PIXEL(at)];
                if (best < 0 || value > x->data[best] || isnan(value)) best = plane + PIXEL(at);
            }
            layer->winner[to] = best;
            y.data[to++] = x->data[best];
        }
    return y;
}

static TENSOR OF(max_pool_backward)(LAYER *layer, const TENSOR *dy) {
    TENSOR dx = OF(like)(&layer->x);
    for (long i = 0; i < dy->size; i++) dx.data[layer->winner[i]] += dy->data[i];
    return dx;
}

/* --- AvgPool2d: y = Σ x / n;  every x of the window gets δ / n ---------------------------------------------------------------- */

static long OF(divisor)(const LAYER *layer, const Window *at, long p, long q) {
    const Json *given = get(layer->options, "divisor_override");
    if (given->kind == NUMBER) return (long)given->number;
    if (get(layer->options, "count_include_pad")->kind == TRUE_) return at->kh * at->kw;
    long inside = 0;
    for (long k = 0; k < at->kh; k++)
        for (long l = 0; l < at->kw; l++) inside += INSIDE(*at);
    return inside;
}

static TENSOR OF(avg_pool)(LAYER *layer) {
    const TENSOR *x = &layer->x;
    Window at = pool_window(layer->options, x->rank, x->shape);
    TENSOR y = OF(pooled)(layer, &at);
    REAL *to = y.data;
    for (long plane = 0; plane < x->size; plane += at.H * at.W)
        FOR_POSITIONS(at) {
            REAL sum = 0;
            FOR_TAPS(at) if (INSIDE(at)) sum += x->data[plane + PIXEL(at)];
            *to++ = sum / OF(divisor)(layer, &at, p, q);
        }
    return y;
}

static TENSOR OF(avg_pool_backward)(LAYER *layer, const TENSOR *dy) {
    const TENSOR *x = &layer->x;
    Window at = pool_window(layer->options, x->rank, x->shape);
    TENSOR dx = OF(like)(x);
    const REAL *from = dy->data;
    for (long plane = 0; plane < x->size; plane += at.H * at.W)
        FOR_POSITIONS(at) {
            REAL share = *from++ / OF(divisor)(layer, &at, p, q);
            FOR_TAPS(at) if (INSIDE(at)) dx.data[plane + PIXEL(at)] += share;
        }
    return dx;
}

/* --- element by element: y = f(x);  dx = δ f'(x), with f' written in x and y ------------------------------------------------- */

static TENSOR OF(relu)(LAYER *layer) {
    TENSOR y = OF(like)(&layer->x);
    for (long i = 0; i < y.size; i++) y.data[i] = layer->x.data[i] <= 0 ? 0 : layer->x.data[i];
    return y;
}

static TENSOR OF(relu_backward)(LAYER *layer, const TENSOR *dy) { /* ReLU'(0) = 0 */
    TENSOR dx = OF(like)(dy);
    for (long i = 0; i < dx.size; i++) dx.data[i] = layer->x.data[i] <= 0 ? 0 : dy->data[i];
    return dx;
}

static TENSOR OF(sigmoid)(LAYER *layer) {
    TENSOR y = OF(like)(&layer->x);
    for (long i = 0; i < y.size; i++) y.data[i] = (REAL)(1 / (1 + exp(-(double)layer->x.data[i])));
    return y;
}

static TENSOR OF(sigmoid_backward)(LAYER *layer, const TENSOR *dy) {
    TENSOR dx = OF(like)(dy);
    for (long i = 0; i < dx.size; i++) dx.data[i] = dy->data[i] * (layer->y.data[i] * (1 - layer->y.data[i]));
    return dx;
}

static TENSOR OF(hyperbolic)(LAYER *layer) {
    TENSOR y = OF(like)(&layer->x);
    for (long i = 0; i < y.size; i++) y.data[i] = (REAL)tanh((double)layer->x.data[i]);
    return y;
}

static TENSOR OF(hyperbolic_backward)(LAYER *layer, const TENSOR *dy) {
    TENSOR dx = OF(like)(dy);
    for (long i = 0; i < dx.size; i++) dx.data[i] = dy->data[i] * (1 - layer->y.data[i] * layer->y.data[i]);
    return dx;
}

static TENSOR OF(flatten)(LAYER *layer) {
    const TENSOR *x = &layer->x;
    int first = dimension(layer->options, "start_dim", x->rank), last = dimension(layer->options, "end_dim", x->rank);
    TENSOR y = {.rank = 0, .size = x->size, .data = x->data};
    for (int i = 0; i < x->rank; i++)
        if (i > first && i <= last) y.shape[y.rank - 1] *= x->shape[i];
        else y.shape[y.rank++] = x->shape[i];
    return y;
}

static TENSOR OF(flatten_backward)(LAYER *layer, const TENSOR *dy) {
    TENSOR dx = layer->x;
    dx.data = dy->data;
    return dx;
}

static const struct {
    const char *type;
    TENSOR (*forward)(LAYER *);
    TENSOR (*backward)(LAYER *, const TENSOR *);
} OF(KNOWN)[] = {
    {"Linear", OF(linear), OF(linear_backward)},        {"Conv2d", OF(conv), OF(conv_backward)},
    {"MaxPool2d", OF(max_pool), OF(max_pool_backward)}, {"AvgPool2d", OF(avg_pool), OF(avg_pool_backward)},
    {"ReLU", OF(relu), OF(relu_backward)},              {"Sigmoid", OF(sigmoid), OF(sigmoid_backward)},
    {"Tanh", OF(hyperbolic), OF(hyperbolic_backward)},  {"Flatten", OF(flatten), OF(flatten_backward)},
};

static int OF(kind)(const LAYER *layer) {
    for (int i = 0; i < (int)(sizeof OF(KNOWN) / sizeof *OF(KNOWN)); i++)
        if (!strcmp(OF(KNOWN)[i].type, layer->type)) return i;
    UNSUPPORTED("no %s", layer->type);
    return 0;
}

/* --- losses -------------------------------------------------------------------------------------------------------------------- */

/* L = Σ (z - t)² / n;  dz = 2 (z - t) / n */
static REAL OF(mse)(const TENSOR *z, const Array *target, int mean, TENSOR *dz) {
    REAL sum = 0, n = mean ? (REAL)z->size : 1;
    for (long i = 0; i < z->size; i++) {
        REAL difference = z->data[i] - (REAL)target->data[i];
        sum += difference * difference;
        dz->data[i] = 2 * difference / n;
    }
    return sum / n;
}

/* L = -Σ log softmax(z)[t] / n;  dz = (softmax(z) - onehot(t)) / n */
static REAL OF(cross_entropy)(const TENSOR *z, const Array *target, int mean, TENSOR *dz) {
    long N = z->shape[0], C = z->shape[1];
    REAL sum = 0, n = mean ? (REAL)N : 1;
    for (long i = 0; i < N; i++) {
        const REAL *row = z->data + i * C;
        long class = (long)target->data[i];
        REAL top = row[0], total = 0;
        for (long j = 1; j < C; j++) top = row[j] > top ? row[j] : top;
        for (long j = 0; j < C; j++) total += (REAL)exp((double)(row[j] - top));
        sum -= row[class] - top - (REAL)log((double)total);
        for (long j = 0; j < C; j++) {
            REAL share = (REAL)exp((double)(row[j] - top)) / total;
            dz->data[i * C + j] = (j == class ? share - 1 : share) / n;
        }
    }
    return sum / n;
}

/* --- SGD: g ← ±g + λθ;  v ← g at first, else μv + (1 - τ)g;  θ ← θ - η (g + μv, v, or without momentum g) -------------------- */

static void OF(update)(OF(Param) *param, const Sgd *sgd) {
    TENSOR *theta = &param->value, *v = &param->velocity;
    int first = sgd->momentum != 0 && !param->has_velocity;
    REAL lr = (REAL)sgd->lr, mu = (REAL)sgd->momentum, kept = (REAL)(1 - sgd->dampening), decay = (REAL)sgd->weight_decay;
    if (first) *v = OF(like)(theta);
    for (long i = 0; i < theta->size; i++) {
        REAL g = (sgd->maximize ? -param->grad.data[i] : param->grad.data[i]) + decay * theta->data[i], step = g;
        if (mu != 0) {
            v->data[i] = first ? g : mu * v->data[i] + kept * g;
            step = sgd->nesterov ? g + mu * v->data[i] : v->data[i];
        }
        theta->data[i] -= lr * step;
    }
    param->has_velocity = mu != 0;
}

/* --- a case ---------------------------------------------------------------------------------------------------------------------- */

static void OF(record)(OF(Run) *run, const char *layer, const char *quantity, const char *of, const TENSOR *value) {
    char name[512];
    snprintf(name, sizeof name, "%d/%s/%s%s", run->step, layer, quantity, of);
    emit(run->out, name, value->rank, value->shape, value->size, value->data, sizeof(REAL));
}

static OF(Param) *OF(param)(OF(Run) *run, const char *owner, const char *of) {
    char name[512];
    snprintf(name, sizeof name, "%s.%s", owner, of);
    for (int i = 0; i < run->param_count; i++)
        if (!strcmp(run->params[i].name, name)) return &run->params[i];
    return NULL;
}

static void OF(set_up)(OF(Run) *run) {
    const Json *specs = get(run->description, "layers");
    run->params = take((run->arrays->count + 1) * sizeof *run->params);
    for (int i = 0; i < run->arrays->count; i++) {
        const Array *array = &run->arrays->items[i];
        if (strncmp(array->name, "params/", 7)) continue;
        const Array *velocity = find(run->arrays, "optimizer_state/momentum/%s", array->name + 7);
        OF(Param) *param = &run->params[run->param_count++];
        *param = (OF(Param)){.name = array->name + 7, .value = OF(tensor)(array), .has_velocity = velocity != NULL};
        param->grad = OF(like)(&param->value);
        if (velocity) param->velocity = OF(tensor)(velocity);
    }
    run->layers = take((specs->count + 1) * sizeof *run->layers), run->depth = specs->count;
    for (int i = 0; i < specs->count; i++) {
        const Json *spec = &specs->items[i], *same = get(spec, "same_as");
        LAYER *layer = &run->layers[i];
        layer->name = get(spec, "name")->text, layer->type = get(spec, "type")->text;
        layer->owner = same->kind == STRING ? same->text : layer->name, layer->options = get(spec, "options");
        layer->weight = OF(param)(run, layer->owner, "weight"), layer->bias = OF(param)(run, layer->owner, "bias");
        OF(kind)(layer);
    }
}

static const Array *OF(at_step)(OF(Run) *run, const char *field, const char *more) {
    int count = entries(run->arrays, field);
    return count ? find(run->arrays, "%s/%d%s", field, run->step % count, more) : NULL;
}

static TENSOR OF(loss)(OF(Run) *run, const TENSOR *z) {
    const Json *loss = get(run->description, "loss");
    const Array *target = OF(at_step)(run, "targets", "/0");
    int is_mse = loss_kind(loss, z->rank, target, OF(at_step)(run, "grad_outputs", "") != NULL);
    int mean = !strcmp(get(get(loss, "options"), "reduction")->text, "mean");
    TENSOR value = OF(zeros)(0, NULL), dz = OF(like)(z);
    OF(record)(run, "loss", "input", "", z);
    *value.data = (is_mse ? OF(mse) : OF(cross_entropy))(z, target, mean, &dz);
    OF(record)(run, "loss", "output", "", &value);
    OF(record)(run, "loss", "grad_input", "", &dz);
    if (is_mse) { /* dt = -dz */
        TENSOR dt = OF(like)(&dz);
        for (long i = 0; i < dt.size; i++) dt.data[i] = -dz.data[i];
        OF(record)(run, "loss", "grad.", "target", &dt);
    }
    return dz;
}

static void OF(backward)(OF(Run) *run, TENSOR delta) {
    for (int i = run->depth - 1; i >= 0; i--) {
        LAYER *layer = &run->layers[i];
        OF(record)(run, layer->name, "grad_output", "", &delta);
        delta = OF(KNOWN)[OF(kind)(layer)].backward(layer, &delta);
        OF(record)(run, layer->name, "grad_input", "", &delta);
        if (strcmp(layer->name, layer->owner)) continue; /* complete only where the layer stands first */
        if (layer->weight) OF(record)(run, layer->owner, "grad.", "weight", &layer->weight->grad);
        if (layer->bias) OF(record)(run, layer->owner, "grad.", "bias", &layer->bias->grad);
    }
}

static void OF(forward_backward)(OF(Run) *run) {
    const Array *upstream = OF(at_step)(run, "grad_outputs", "");
    TENSOR x = OF(tensor)(OF(at_step)(run, "inputs", ""));
    for (int i = 0; i < run->param_count; i++) memset(run->params[i].grad.data, 0, run->params[i].grad.size * sizeof(REAL));
    for (int i = 0; i < run->depth; i++) {
        LAYER *layer = &run->layers[i];
        layer->x = x;
        OF(record)(run, layer->name, "input", "", &x);
        layer->y = x = OF(KNOWN)[OF(kind)(layer)].forward(layer);
        OF(record)(run, layer->name, "output", "", &x);
    }
    if (get(run->description, "loss")->kind == OBJECT) OF(backward)(run, OF(loss)(run, &x));
    else if (upstream) OF(backward)(run, OF(tensor)(upstream));
}

static void OF(update_all)(OF(Run) *run) {
    const Json *optimizer = get(run->description, "optimizer");
    for (int i = 0; i < run->param_count; i++) {
        OF(Param) *param = &run->params[i];
        const char *dot = strrchr(param->name, '.'), *of = dot ? dot + 1 : param->name;
        char layer[256] = "";
        Sgd sgd = sgd_for(optimizer, param->name);
        if (dot) snprintf(layer, sizeof layer, "%.*s", (int)(dot - param->name), param->name);
        OF(update)(param, &sgd);
        if (param->has_velocity) OF(record)(run, layer, "momentum.", of, &param->velocity);
        OF(record)(run, layer, "param.", of, &param->value);
    }
}

static void OF(run)(const Json *description, const Arrays *arrays, Output *out) {
    OF(Run) run = {.description = description, .arrays = arrays, .out = out};
    int given = entries(arrays, "grads"), steps = (int)get(description, "steps")->number;
    OF(set_up)(&run);
    for (run.step = 0; run.step < steps; run.step++) {
        for (int i = 0; given && i < run.param_count; i++)
            run.params[i].grad = OF(tensor)(find(arrays, "grads/%d/%s", run.step % given, run.params[i].name));
        if (!given) OF(forward_backward)(&run);
        if (get(description, "optimizer")->kind == OBJECT) OF(update_all)(&run);
    }
}

#undef TENSOR
#undef LAYER
