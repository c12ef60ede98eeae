/* Tables of rotary frequencies. Plain: inv_freq[i] = base^(-2i/dims), Su et al. 2021, section 3.4.2. Scalings change
 * the table only: position interpolation (Chen et al. 2023, equation 4), Llama 3.1's by wavelength, YaRN (Peng et al.
 * 2023, section 3.2, with the paper's beta_fast and beta_slow), LongRoPE (Ding et al. 2024: a divisor per pair). */
#include "model/config.h"

#include <math.h>

/* The pair that turns `rotations` times within the original context, as a real number. */
static double yarn_pair(const tern_config *c, double rotations)
{
    return c->rope_dims * log(c->rope.original_context / (rotations * 2 * M_PI)) / (2 * log(c->rope_base));
}

/* Share of pair i that is interpolated: 0 below `low`, 1 above `high`. */
static double yarn_ramp(double low, double high, double i)
{
    double x = (i - low) / (high - low < 1e-3 ? 1e-3 : high - low);
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

static double llama3(const tern_config *c, double f)
{
    double wavelength = 2 * M_PI / f, original = c->rope.original_context;
    if (wavelength < original / c->rope.high_freq) return f;
    if (wavelength > original / c->rope.low_freq) return f / c->rope.factor;
    double smooth = (original / wavelength - c->rope.low_freq) / (c->rope.high_freq - c->rope.low_freq);
    return (1 - smooth) * f / c->rope.factor + smooth * f;
}

double tern_rope_divisor(const tern_config *c, int32_t i)
{
    double f = pow(c->rope_base, -2.0 * i / c->rope_dims);
    return f / llama3(c, f);
}

tern_status tern_rope_build(const tern_config *c, const float *factors, tern_arena *arena, tern_rope_spec *out, tern_error *err)
{
    int32_t pairs = c->rope_dims / 2;
    float  *inv_freq = TERN_NEW(arena, float, (size_t)pairs);
    if (!inv_freq) return tern_fail(err, TERN_ERR_MEMORY, "out of memory for the table of positions");
    double low = 0, high = 0;
    if (c->rope.kind == TERN_ROPE_YARN && c->rope_base > 1) {
        low  = fmax(floor(yarn_pair(c, c->rope.beta_fast)), 0);
        high = fmin(ceil(yarn_pair(c, c->rope.beta_slow)), c->rope_dims - 1);
    }
    for (int32_t i = 0; i < pairs; i++) {
        double f = pow(c->rope_base, -2.0 * i / c->rope_dims), ramp;
        switch (c->rope.kind) {
        case TERN_ROPE_LINEAR: f /= c->rope.factor; break;
        case TERN_ROPE_LLAMA3: f = llama3(c, f); break;
        case TERN_ROPE_YARN:
            ramp = yarn_ramp(low, high, i);
            f = f / c->rope.factor * ramp + f * (1 - ramp);
            break;
        case TERN_ROPE_PLAIN: case TERN_ROPE_LONGROPE: break;
        }
        if (factors && !(factors[i] > 0 && isfinite(factors[i])))
            return tern_fail(err, TERN_ERR_FORMAT, "divisor %d of the rotary frequencies is %g", i, (double)factors[i]);
        inv_freq[i] = (float)(factors ? f / factors[i] : f);
    }
    bool scaled = c->rope.kind == TERN_ROPE_YARN || c->rope.kind == TERN_ROPE_LONGROPE;
    *out = (tern_rope_spec){ .dims = c->rope_dims, .interleaved = c->rope_interleaved,
                             .attention_scale = scaled ? c->rope.attention_factor : 1, .inv_freq = inv_freq };
    return TERN_OK;
}
