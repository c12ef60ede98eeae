/* Rotary positions: a table of cosines and sines for the rows of the batch, and the rotation by it.
 * Su et al. 2021, "RoFormer", section 3.4.2. */
#include "backend/plan.h"

#include "base/half.h"
#include "kernel/vec.h"

/* Cosine and sine of a float32 angle, rounded once from about 60 correct bits, so the same everywhere and within
 * 0.51 ulp. x = k pi/2 + r, |r| <= pi/4, with pi/2 in parts of 25, 24 and 53 bits: k times the first two is exact
 * for |k| < 2^28. Then the Taylor series to r^16, whose next term is below 2^-53. */
static void cosine_sine(float angle, float *cosine, float *sine)
{
    const double magic = 0x1.8p52;   /* adding it leaves round(x) in the low bits */
    double   x = (double)angle, t = x * 0x1.45f306dc9c883p-1 + magic, k = t - magic;
    uint64_t bits;
    memcpy(&bits, &t, sizeof bits);
    double r = ((x - k * 0x1.921fb5p+0) - k * 0x1.110b46p-26) - k * 0x1.1a62633145c07p-54, z = r * r;

    double s = -1.0 / 1307674368000;
    s = s * z + 1.0 / 6227020800;
    s = s * z - 1.0 / 39916800;
    s = s * z + 1.0 / 362880;
    s = s * z - 1.0 / 5040;
    s = s * z + 1.0 / 120;
    s = s * z - 1.0 / 6;
    s = r + r * z * s;
    double c = 1.0 / 20922789888000;
    c = c * z - 1.0 / 87178291200;
    c = c * z + 1.0 / 479001600;
    c = c * z - 1.0 / 3628800;
    c = c * z + 1.0 / 40320;
    c = c * z - 1.0 / 720;
    c = c * z + 1.0 / 24;
    c = c * z - 1.0 / 2;
    c = 1 + z * c;

    double cos_x = bits & 1 ? s : c, sin_x = bits & 1 ? c : s;   /* quarter turns */
    *cosine = (float)((bits + 1) & 2 ? -cos_x : cos_x);
    *sine   = (float)(bits & 2 ? -sin_x : sin_x);
}

/* The angle is a float32 product, as every reference implementation computes it. */
void tern_cpu_rope_table(const tern_run *r, const tern_node *node, int i, int n)
{
    const tern_rope_spec *spec = &node->u.rope.spec;
    const size_t half = (size_t)spec->dims / 2, items = tern_run_rows(r, node->out) * half;
    const size_t ld = r->plan->value[node->out].ld;
    float *table = tern_run_floats(r, node->out);
    for (size_t item = items * (size_t)i / (size_t)n; item < items * ((size_t)i + 1) / (size_t)n; item++) {
        size_t row = item / half, c = item % half;
        float  cosine, sine;
        cosine_sine((float)r->batch->position[row] * spec->inv_freq[c], &cosine, &sine);
        table[row * ld + c]        = cosine * spec->attention_scale;
        table[row * ld + half + c] = sine * spec->attention_scale;
    }
}

void tern_cpu_rope(const tern_run *r, const tern_node *node, int i, int n)
{
    const tern_vec_ops    *vec = tern_vec_best();
    const tern_rope_spec  *spec = &node->u.rope.spec;
    const tern_value_info *in = &r->plan->value[node->in[0]], *out = &r->plan->value[node->out];
    const size_t heads = (size_t)node->u.rope.heads, D = (size_t)node->u.rope.D, dims = (size_t)spec->dims, half = dims / 2;
    const size_t items = tern_run_rows(r, node->out) * heads, ld_table = r->plan->value[node->in[1]].ld;
    for (size_t item = items * (size_t)i / (size_t)n; item < items * ((size_t)i + 1) / (size_t)n; item++) {
        size_t row = item / heads, column = item % heads * D;
        const float *cosine = tern_run_floats(r, node->in[1]) + row * ld_table, *sine = cosine + half;
        const float *x = tern_run_floats(r, node->in[0]) + row * in->ld + column;
        float       *y = tern_run_floats(r, node->out) + row * out->ld + column;
        if (spec->interleaved) {
            for (size_t c = 0; c < half; c++) {
                float a = x[2 * c], b = x[2 * c + 1];
                y[2 * c]     = a * cosine[c] - b * sine[c];
                y[2 * c + 1] = b * cosine[c] + a * sine[c];
            }
        } else {
            vec->rotate(y, x, cosine, sine, half);
        }
        if (y != x && dims < D) memcpy(y + dims, x + dims, (D - dims) * sizeof *y);
    }
}
