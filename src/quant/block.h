/* Block layouts. They are file formats: never reorder, never pad. d, m: float16 bits. */
#ifndef TERN_QUANT_BLOCK_H
#define TERN_QUANT_BLOCK_H

#include "quant/quant.h"

typedef float    tern_block_f32;
typedef uint16_t tern_block_f16;
typedef uint16_t tern_block_bf16;
typedef struct { uint16_t d; uint8_t q[16]; } tern_block_q4_0;               /* w = d (q - 8); element j low nibble of q[j], j+16 high */
typedef struct { uint16_t d, m; uint8_t q[16]; } tern_block_q4_1;            /* w = d q + m                                           */
typedef struct { uint16_t d; uint8_t h[4], q[16]; } tern_block_q5_0;         /* w = d (q - 16); bit j of h: fifth bit of element j    */
typedef struct { uint16_t d, m; uint8_t h[4], q[16]; } tern_block_q5_1;      /* w = d q + m                                           */
typedef struct { uint16_t d; int8_t q[32]; } tern_block_q8_0;                /* w = d q                                               */
typedef struct { uint8_t scale[16], q[64]; uint16_t d, m; } tern_block_q2_k; /* 16 groups of 16; scale: low nibble x d, high x m      */
typedef struct { uint8_t h[32], q[64], scale[12]; uint16_t d; } tern_block_q3_k;   /* 16 groups of 16, 6-bit scales - 32              */
typedef struct { uint16_t d, m; uint8_t scale[12], q[128]; } tern_block_q4_k;      /* 8 groups of 32, 6-bit scales and minima         */
typedef struct { uint16_t d, m; uint8_t scale[12], h[32], q[128]; } tern_block_q5_k;
typedef struct { uint8_t ql[128], qh[64]; int8_t scale[16]; uint16_t d; } tern_block_q6_k;   /* 16 groups of 16, w = d s (q - 32)     */
typedef struct { uint16_t d; uint8_t q[16]; } tern_block_iq4_nl;             /* w = d table[q]                                        */
typedef struct { uint16_t d, scale_h; uint8_t scale_l[4], q[128]; } tern_block_iq4_xs;       /* 8 groups of 32, 6-bit scales - 32     */
typedef struct { uint8_t q[48], h[4]; uint16_t d; } tern_block_tq1_0;        /* five trits a byte, as a fraction of 256; four in h    */
typedef struct { uint8_t q[64]; uint16_t d; } tern_block_tq2_0;              /* w = d (q - 1)                                         */
typedef struct { uint8_t q[32]; } tern_block_i2_s;      /* byte j: elements j, j+32, j+64, j+96 in bits 6, 4, 2, 0; 0 1 2 = -1 0 +1  */
typedef uint8_t  tern_block_t2;     /* four codes, first element in the low bits; 0 1 2 = -1 0 +1; the tail as i2_s's: f32 scale first */
typedef double   tern_block_f64;
typedef int8_t   tern_block_i8;
typedef int16_t  tern_block_i16;
typedef int32_t  tern_block_i32;
typedef int64_t  tern_block_i64;
typedef uint8_t  tern_block_u8;
typedef uint8_t  tern_block_f8_e4m3;
typedef uint8_t  tern_block_f8_e5m2;

#define TERN_TYPE(id, gguf, dialect, elems, bytes, tail, act) \
    _Static_assert(sizeof(tern_block_##id) == (bytes), #id ": block size differs from types.def"); \
    tern_dequantize_fn tern_dequantize_##id; \
    tern_quantize_fn tern_quantize_##id;
#include "quant/types.def"
#undef TERN_TYPE

#endif
