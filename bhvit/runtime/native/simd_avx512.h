// 16 lanes: AVX-512 F, BW, VL, DQ and VPOPCNTDQ. What each function means stands in simd_scalar.h.
#pragma once
#include <immintrin.h>

#include "simd_common.h"

namespace bhvit::ISA {

constexpr int LANES = 16, ROWS = 2, TILE = LANES * ROWS, COLUMNS = 8;
constexpr int COUNT_WORDS = 0;
constexpr int GROUP = 14, PANELS = 2;

using F = __m512;
using I = __m512i;
using Bits = uint16_t;

INLINE F load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void store(float *p, F x) { _mm512_storeu_ps(p, x); }
INLINE F set(float x) { return _mm512_set1_ps(x); }
INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
INLINE F sub(F a, F b) { return _mm512_sub_ps(a, b); }
INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
INLINE F div(F a, F b) { return _mm512_div_ps(a, b); }
INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
INLINE F max(F a, F b) { return _mm512_max_ps(a, b); }
INLINE F min(F a, F b) { return _mm512_min_ps(a, b); }
INLINE F round(F x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE F sqrt(F x) { return _mm512_sqrt_ps(x); }
INLINE F power_of_two(F n) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23)); }
INLINE F copysign(F magnitude, F sign) {
  const F bit = _mm512_set1_ps(-0.0f);
  return _mm512_or_ps(_mm512_andnot_ps(bit, magnitude), _mm512_and_ps(bit, sign));
}
INLINE float sum(F x) { return _mm512_reduce_add_ps(x); }
INLINE F prelu(F u, F slope) { return _mm512_mask_mul_ps(u, _mm512_cmp_ps_mask(u, _mm512_setzero_ps(), _CMP_LT_OQ), u, slope); }
INLINE uint32_t at_least(F x, F y) { return _mm512_cmp_ps_mask(x, y, _CMP_GE_OQ); }

INLINE I load_words(const uint32_t *p) { return _mm512_loadu_si512(p); }
INLINE void store_words(uint32_t *p, I x) { _mm512_storeu_si512(p, x); }
INLINE I set_word(uint32_t x) { return _mm512_set1_epi32(int(x)); }
INLINE I zero_words() { return _mm512_setzero_si512(); }
INLINE I add_words(I a, I b) { return _mm512_add_epi32(a, b); }
INLINE F to_float(I x) { return _mm512_cvtepi32_ps(x); }
INLINE I to_int(F x) { return _mm512_cvtps_epi32(x); }
INLINE I pair(I low, I high) { return _mm512_mask_blend_epi16(0xAAAAAAAA, low, _mm512_slli_epi32(high, 16)); }
INLINE I widen_int8(const uint8_t *p) { return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)p)); }
INLINE I widen_int4(const uint8_t *p) {
  const I x = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p));
  return pair(_mm512_srai_epi32(_mm512_slli_epi32(x, 28), 28), _mm512_srai_epi32(x, 4));
}
INLINE I multiply_pairs(I acc, I a, I b) { return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b)); }

using Count = I;
INLINE Count no_count() { return _mm512_setzero_si512(); }
INLINE Count count_different(Count n, I a, I b) {
  const I ones = _mm512_popcnt_epi32(_mm512_xor_si512(a, b));
  // n += ones, in place: left to itself, GCC adds into other registers and copies all of them back in every round.
  asm("vpaddd %1, %0, %0" : "+v"(n) : "v"(ones));
  return n;
}
INLINE I counted(Count n) { return n; }

INLINE F half_to_float(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }

// 32 columns of TILE bits -> TILE words of 32 bits
INLINE void transpose_bits(const Bits (*bits)[32], uint32_t *words) {
  for (int r = 0; r < ROWS; ++r) {
    I x = _mm512_loadu_si512(bits[r]);
    for (int t = LANES - 1; t >= 0; --t) {
      words[r * LANES + t] = _mm512_movepi16_mask(x);
      x = _mm512_add_epi16(x, x);
    }
  }
}

// 16 rows of 16 floats at `in` + row * stride each -> columns
INLINE void transpose_block(const float *const *in, int first, float *out, int stride) {
  F r[16], s[16];
  for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_ps(in[i] + first);
  for (int i = 0; i < 16; i += 2) {
    s[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    s[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(s[i]), _mm512_castps_pd(s[i + 2])));
    r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(s[i]), _mm512_castps_pd(s[i + 2])));
    r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(s[i + 1]), _mm512_castps_pd(s[i + 3])));
    r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(s[i + 1]), _mm512_castps_pd(s[i + 3])));
  }
  for (int i = 0; i < 4; ++i) {
    s[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
    s[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    s[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
    s[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 8; ++i) {
    r[i] = _mm512_shuffle_f32x4(s[i], s[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_f32x4(s[i], s[i + 8], 0xdd);
  }
  for (int i = 0; i < 16; ++i) _mm512_storeu_ps(out + i * stride, r[i]);
}

} // namespace bhvit::ISA
