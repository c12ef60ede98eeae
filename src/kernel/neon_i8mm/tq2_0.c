#include "kernel/neon_i8mm/ternary.h"

void tern_tile_tq2_0_neon_i8mm(const tern_matrix *w, const void *panel, size_t n0, size_t rows, const tern_act *a,
                       size_t begin, size_t end, float *y, size_t ldy)
{
    tile_pairs_tq(w, panel, rows, a, begin, end, y, ldy);
}
