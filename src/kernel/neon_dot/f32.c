#include "kernel/neon_dot/plain.h"

void tern_tile_f32_neon_dot(const tern_matrix *w, const void *panel, size_t n0, size_t rows, const tern_act *a,
                      size_t begin, size_t end, float *y, size_t ldy)
{
    tile_plain(TERN_TYPE_f32, w, panel, rows, a, begin, end, y, ldy);
}
