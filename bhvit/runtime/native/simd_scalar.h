// Plain C++, the meaning of every operation; what the other simd_*.h do with intrinsics.
#pragma once
#include "simd_common.h"

namespace bhvit::ISA {

constexpr int LANES = 8;               // tokens a vector
constexpr int ROWS = 2;                // vectors a tile
constexpr int TILE = LANES * ROWS;     // tokens that are processed together
constexpr int COLUMNS = 4;             // output columns whose accumulators are kept in registers; divides 16
constexpr int COUNT_WORDS = 0;         // words after which a Count must be read; 0: never
constexpr int GROUP = 4, PANELS = 1;   // of a real-valued product: tokens and weight panels whose accumulators are kept in registers

struct F { float v[LANES]; };
struct I { uint32_t v[LANES]; };
using Bits = uint8_t; // a bit for every token of a vector

#define EACH for (int i = 0; i < LANES; ++i)
INLINE F load(const float *p) { F r; EACH r.v[i] = p[i]; return r; }
INLINE void store(float *p, F x) { EACH p[i] = x.v[i]; }
INLINE F set(float x) { F r; EACH r.v[i] = x; return r; }
INLINE F add(F a, F b) { EACH a.v[i] += b.v[i]; return a; }
INLINE F sub(F a, F b) { EACH a.v[i] -= b.v[i]; return a; }
INLINE F mul(F a, F b) { EACH a.v[i] *= b.v[i]; return a; }
INLINE F div(F a, F b) { EACH a.v[i] /= b.v[i]; return a; }
INLINE F fma(F a, F b, F c) { EACH a.v[i] = a.v[i] * b.v[i] + c.v[i]; return a; }
INLINE F max(F a, F b) { EACH a.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i]; return a; }
INLINE F min(F a, F b) { EACH a.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i]; return a; }
INLINE F round(F x) { EACH x.v[i] = nearbyintf(x.v[i]); return x; } // half to even
INLINE F sqrt(F x) { EACH x.v[i] = sqrtf(x.v[i]); return x; }
INLINE F power_of_two(F n) { // of whole numbers
  EACH { const int32_t bits = (int32_t(n.v[i]) + 127) * (1 << 23); memcpy(&n.v[i], &bits, 4); }
  return n;
}
INLINE F copysign(F magnitude, F sign) { EACH magnitude.v[i] = copysignf(magnitude.v[i], sign.v[i]); return magnitude; }
INLINE float sum(F x) { float s = 0; EACH s += x.v[i]; return s; }
INLINE F prelu(F u, F slope) { EACH u.v[i] = u.v[i] < 0 ? u.v[i] * slope.v[i] : u.v[i]; return u; }
INLINE uint32_t at_least(F x, F y) { uint32_t b = 0; EACH b |= uint32_t(x.v[i] >= y.v[i]) << i; return b; } // a bit a lane

INLINE I load_words(const uint32_t *p) { I r; EACH r.v[i] = p[i]; return r; }
INLINE void store_words(uint32_t *p, I x) { EACH p[i] = x.v[i]; }
INLINE I set_word(uint32_t x) { I r; EACH r.v[i] = x; return r; }
INLINE I zero_words() { return set_word(0); }
INLINE I add_words(I a, I b) { EACH a.v[i] += b.v[i]; return a; }
INLINE F to_float(I x) { F r; EACH r.v[i] = float(int32_t(x.v[i])); return r; }
INLINE I to_int(F x) { I r; EACH r.v[i] = uint32_t(int32_t(nearbyintf(x.v[i]))); return r; }
INLINE I pair(I low, I high) { EACH low.v[i] = (low.v[i] & 0xffff) | (high.v[i] << 16); return low; } // two int16
INLINE uint32_t int16_pair(int low, int high) { return (uint32_t(low) & 0xffff) | uint32_t(high) << 16; }
INLINE I widen_int8(const uint8_t *p) { I r; EACH r.v[i] = int16_pair(int8_t(p[2 * i]), int8_t(p[2 * i + 1])); return r; } // two bytes a pair
INLINE I widen_int4(const uint8_t *p) { I r; EACH r.v[i] = int16_pair(int8_t(uint8_t(p[i] << 4)) >> 4, int8_t(p[i]) >> 4); return r; } // one byte
INLINE I multiply_pairs(I acc, I a, I b) { // acc + the sum of the products of both int16
  EACH acc.v[i] += uint32_t(int32_t(int16_t(a.v[i])) * int16_t(b.v[i]) + int32_t(int16_t(a.v[i] >> 16)) * int16_t(b.v[i] >> 16));
  return acc;
}

using Count = I; // of differing bits
INLINE Count no_count() { return set_word(0); }
INLINE Count count_different(Count n, I a, I b) { EACH n.v[i] += uint32_t(__builtin_popcount(a.v[i] ^ b.v[i])); return n; }
INLINE I counted(Count n) { return n; }

INLINE F half_to_float(const uint16_t *p) { // IEEE 754 half precision
  F r;
  EACH {
    const uint32_t h = p[i], sign = (h & 0x8000) << 16, exponent = (h >> 10) & 31, fraction = h & 0x3ff;
    uint32_t bits;
    if (exponent == 0) {
      const float subnormal = float(fraction) * 0x1p-24f;
      memcpy(&bits, &subnormal, 4);
    } else {
      bits = (exponent == 31 ? 0x7f800000 : (exponent + 112) << 23) | fraction << 13;
    }
    bits |= sign;
    memcpy(&r.v[i], &bits, 4);
  }
  return r;
}

// Bit t of bits[r][column] becomes bit `column` of words[r * LANES + t], for 32 columns.
INLINE void transpose_bits(const Bits (*bits)[32], uint32_t *words) {
  for (int t = 0; t < TILE; ++t) {
    uint32_t word = 0;
    for (int c = 0; c < 32; ++c) word |= uint32_t(bits[t / LANES][c] >> (t % LANES) & 1) << c;
    words[t] = word;
  }
}

// out[c * stride + row] = in[row][first + c] for LANES rows and LANES columns.
INLINE void transpose_block(const float *const *in, int first, float *out, int stride) {
  for (int row = 0; row < LANES; ++row)
    for (int c = 0; c < LANES; ++c) out[c * stride + row] = in[row][first + c];
}
#undef EACH

} // namespace bhvit::ISA
