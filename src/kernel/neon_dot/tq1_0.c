#include "kernel/neon_dot/ternary.h"

void tern_tile_tq1_0_neon_dot(const tern_matrix *w, const void *panel, size_t n0, size_t rows, const tern_act *a,
                      size_t begin, size_t end, float *y, size_t ldy)
{
    tile_tq(w, panel, rows, a, begin, end, y, ldy);
}
