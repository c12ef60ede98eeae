/* The searches of search.h. Sources: ggml's quantization recipes (the definitions of the K and IQ4 types), whose
 * formulas and order of operations these follow. */
#include "quant/search.h"

#include "quant/round.h"

#include <string.h>

/* Groups below this are all zero: their step would be lost in float16 anyway. */
#define NOTHING 1e-15f

/* The element farthest from zero, with its sign; the first of equals. */
static float extreme(const float *x, int n)
{
    float best = 0, value = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > best) {
            best  = fabsf(x[i]);
            value = x[i];
        }
    return value;
}

float tern_search_signed(const float *x, const float *weight, int n, int top, uint8_t *code)
{
    float peak = extreme(x, n);
    if (fabsf(peak) < NOTHING) {
        memset(code, 0, (size_t)n);
        return 0;
    }
    float step = 0, best = 0;
    /* The extreme element goes to code -top, the longer side; then to a little more or less of it. */
    for (int attempt = 0; attempt < 19; attempt++) {
        int   shift   = attempt == 0 ? 0 : attempt <= 9 ? attempt - 10 : attempt - 9;
        float inverse = shift == 0 ? (float)-top / peak : -((float)top + 0.1f * (float)shift) / peak;
        float xq = 0, qq = 0;
        for (int i = 0; i < n; i++) {
            float q = (float)tern_clamp(tern_nearest(inverse * x[i]), -top, top - 1);
            float w = weight ? weight[i] : x[i] * x[i];
            xq += w * x[i] * q;
            qq += w * q * q;
        }
        if (attempt > 0 && !(qq > 0 && xq * xq > best * qq)) continue;
        for (int i = 0; i < n; i++)
            code[i] = (uint8_t)(top + tern_clamp(tern_nearest(inverse * x[i]), -top, top - 1));
        step = qq != 0 ? xq / qq : 0;
        best = step * xq;
    }
    return step;
}

float tern_search_sweep(const float *x, int n, int top, uint8_t *code)
{
    float peak = extreme(x, n);
    if (fabsf(peak) < NOTHING) {
        memset(code, 0, (size_t)n);
        return 0;
    }
    float inverse = (float)-top / peak, xq = 0, qq = 0;
    for (int i = 0; i < n; i++) {
        int   l = tern_clamp(tern_nearest(inverse * x[i]), -top, top - 1);
        float q = (float)l, w = x[i] * x[i];
        code[i] = (uint8_t)(l + top);
        xq += w * x[i] * q;
        qq += w * q * q;
    }
    for (int sweep = 0, moved = 1; sweep < 5 && moved; sweep++) {
        moved = 0;
        for (int i = 0; i < n; i++) {
            /* the step that the others want, and this element's code under it */
            float w = x[i] * x[i], q = (float)(code[i] - top);
            float xq_other = xq - w * x[i] * q;
            if (!(xq_other > 0)) continue;
            float qq_other = qq - w * q * q;
            int   l = tern_clamp(tern_nearest(x[i] * qq_other / xq_other), -top, top - 1);
            if (l + top == code[i]) continue;
            q = (float)l;
            xq_other += w * x[i] * q;
            qq_other += w * q * q;
            if (qq_other > 0 && xq_other * xq_other * qq > xq * xq * qq_other) {
                code[i] = (uint8_t)(l + top);
                xq = xq_other;
                qq = qq_other;
                moved = 1;
            }
        }
    }
    return qq > 0 ? xq / qq : 0;
}

const tern_scan tern_scan_weighted = { -0.9f, 0.05f, 36, false };

/* sum w |e| or sum w e^2 for e = step code + low - x */
static float affine_error(const float *x, const float *weight, int n, const uint8_t *code, float step, float low,
                          bool absolute)
{
    float sum = 0;
    for (int i = 0; i < n; i++) {
        float e = step * (float)code[i] + low - x[i];
        sum += weight[i] * (absolute ? fabsf(e) : e * e);
    }
    return sum;
}

float tern_search_affine(const float *x, const float *weight, int n, int top, tern_scan scan, uint8_t *code,
                         float *minimum)
{
    float low = x[0], high = x[0], w_sum = weight[0], x_sum = weight[0] * x[0];
    for (int i = 1; i < n; i++) {
        if (x[i] < low) low = x[i];
        if (x[i] > high) high = x[i];
        w_sum += weight[i];
        x_sum += weight[i] * x[i];
    }
    if (low > 0) low = 0;   /* minima are stored unsigned and subtracted */
    if (high == low) {
        memset(code, 0, (size_t)n);
        *minimum = -low;
        return 0;
    }
    float inverse = (float)top / (high - low), step = 1 / inverse;
    for (int i = 0; i < n; i++) code[i] = (uint8_t)tern_clamp(tern_nearest(inverse * (x[i] - low)), 0, top);
    float best = affine_error(x, weight, n, code, step, low, scan.absolute);

    for (int s = 0; s <= scan.steps; s++) {
        uint8_t trial[32];
        float   q_sum = 0, qq = 0, xq = 0;
        /* low is that of the best line so far, so candidates depend on the ones before them */
        inverse = (scan.first + scan.by * (float)s + (float)top) / (high - low);
        for (int i = 0; i < n; i++) {
            int   l = tern_clamp(tern_nearest(inverse * (x[i] - low)), 0, top);
            float q = (float)l, w = weight[i];
            trial[i] = (uint8_t)l;
            q_sum += w * q;
            qq    += w * q * q;
            xq    += w * q * x[i];
        }
        /* weighted regression of x on the codes; a line that would need a positive minimum goes through zero */
        float determinant = w_sum * qq - q_sum * q_sum;
        if (!(determinant > 0)) continue;
        float trial_step = (w_sum * xq - x_sum * q_sum) / determinant;
        float trial_low  = (qq * x_sum - q_sum * xq) / determinant;
        if (trial_low > 0) {
            trial_low  = 0;
            trial_step = xq / qq;
        }
        float error = affine_error(x, weight, n, trial, trial_step, trial_low, scan.absolute);
        if (error < best) {
            memcpy(code, trial, (size_t)n);
            best = error;
            step = trial_step;
            low  = trial_low;
        }
    }
    *minimum = -low;
    return step;
}

static int positive_code(float x, int top) { return tern_clamp(tern_nearest(x), 0, top); }

float tern_search_positive(const float *x, const float *weight, int n, int top, uint8_t *code)
{
    float peak = 0;
    for (int i = 0; i < n; i++)
        if (x[i] > peak) peak = x[i];
    if (peak < NOTHING) {
        memset(code, 0, (size_t)n);
        return 0;
    }
    float inverse = 0, best = 0;
    for (int attempt = 0; attempt < 9; attempt++) {
        int   shift = attempt == 0 ? 0 : attempt <= 4 ? attempt - 5 : attempt - 4;
        float trial = shift == 0 ? (float)top / peak : (0.1f * (float)shift + (float)top) / peak;
        float step  = 1 / trial, error = 0;
        for (int i = 0; i < n; i++) {
            float e = x[i] - step * (float)positive_code(trial * x[i], top);
            error += weight[i] * e * e;
        }
        if (attempt == 0 || error < best) {
            best    = error;
            inverse = trial;
        }
    }
    float xq = 0, qq = 0;
    for (int i = 0; i < n; i++) {
        int   l = positive_code(inverse * x[i], top);
        float q = (float)l;
        code[i] = (uint8_t)l;
        xq += weight[i] * x[i] * q;
        qq += weight[i] * q * q;
    }
    for (int sweep = 0, moved = 1; sweep < 5 && moved; sweep++) {
        moved = 0;
        for (int i = 0; i < n; i++) {
            float w = weight[i], q = (float)code[i];
            float xq_other = xq - w * x[i] * q, qq_other = qq - w * q * q;
            if (!(xq_other > 0 && qq_other > 0)) continue;
            int l = positive_code(x[i] * qq_other / xq_other, top);
            if (l == code[i]) continue;
            q = (float)l;
            xq_other += w * x[i] * q;
            qq_other += w * q * q;
            if (xq_other * xq_other * qq > xq * xq * qq_other) {
                code[i] = (uint8_t)l;
                xq = xq_other;
                qq = qq_other;
                moved = 1;
            }
        }
    }
    return qq > 0 ? xq / qq : 0;
}

float tern_sum_squares(const float *x, size_t n)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++) {
        float v = tern_finite(x[i]);
        sum += v * v;
    }
    return sum;
}

void tern_weigh(float *out, const float *importance, const float *x, float variance, int n)
{
    for (int i = 0; i < n; i++) out[i] = importance[i] * sqrtf(variance + x[i] * x[i]);
}
