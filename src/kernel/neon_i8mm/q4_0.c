#include "kernel/neon_i8mm/block32.h"

void tern_tile_q4_0_neon_i8mm(const tern_matrix *w, const void *panel, size_t n0, size_t rows, const tern_act *a,
                       size_t begin, size_t end, float *y, size_t ldy)
{
    tile_pairs_32(TERN_TYPE_q4_0, w, panel, rows, a, begin, end, y, ldy);
}
