// 8 lanes: AVX2, FMA and F16C. What each function means stands in simd_scalar.h.
#pragma once
#include <immintrin.h>

#include "simd_common.h"

namespace bhvit::ISA {

constexpr int LANES = 8, ROWS = 2, TILE = LANES * ROWS, COLUMNS = 4;
constexpr int COUNT_WORDS = 31; // a byte counts up to 8 bits a word
constexpr int GROUP = 6, PANELS = 1;

using F = __m256;
using I = __m256i;
using Bits = uint8_t;

INLINE F load(const float *p) { return _mm256_loadu_ps(p); }
INLINE void store(float *p, F x) { _mm256_storeu_ps(p, x); }
INLINE F set(float x) { return _mm256_set1_ps(x); }
INLINE F add(F a, F b) { return _mm256_add_ps(a, b); }
INLINE F sub(F a, F b) { return _mm256_sub_ps(a, b); }
INLINE F mul(F a, F b) { return _mm256_mul_ps(a, b); }
INLINE F div(F a, F b) { return _mm256_div_ps(a, b); }
INLINE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
INLINE F max(F a, F b) { return _mm256_max_ps(a, b); }
INLINE F min(F a, F b) { return _mm256_min_ps(a, b); }
INLINE F round(F x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE F sqrt(F x) { return _mm256_sqrt_ps(x); }
INLINE F power_of_two(F n) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23)); }
INLINE F copysign(F magnitude, F sign) {
  const F bit = _mm256_set1_ps(-0.0f);
  return _mm256_or_ps(_mm256_andnot_ps(bit, magnitude), _mm256_and_ps(bit, sign));
}
INLINE float sum(F x) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
INLINE F prelu(F u, F slope) { return _mm256_blendv_ps(u, _mm256_mul_ps(u, slope), u); } // the sign bit selects
INLINE uint32_t at_least(F x, F y) { return uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(x, y, _CMP_GE_OQ))); }

INLINE I load_words(const uint32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
INLINE void store_words(uint32_t *p, I x) { _mm256_storeu_si256((__m256i *)p, x); }
INLINE I set_word(uint32_t x) { return _mm256_set1_epi32(int(x)); }
INLINE I zero_words() { return _mm256_setzero_si256(); }
INLINE I add_words(I a, I b) { return _mm256_add_epi32(a, b); }
INLINE F to_float(I x) { return _mm256_cvtepi32_ps(x); }
INLINE I to_int(F x) { return _mm256_cvtps_epi32(x); }
INLINE I pair(I low, I high) { return _mm256_blend_epi16(low, _mm256_slli_epi32(high, 16), 0xAA); }
INLINE I widen_int8(const uint8_t *p) { return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p)); }
INLINE I widen_int4(const uint8_t *p) {
  const I x = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p));
  return pair(_mm256_srai_epi32(_mm256_slli_epi32(x, 28), 28), _mm256_srai_epi32(x, 4));
}
INLINE I multiply_pairs(I acc, I a, I b) { return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)); }

using Count = I; // a count in every byte
INLINE Count no_count() { return _mm256_setzero_si256(); }
INLINE Count count_different(Count n, I a, I b) {
  const I of_nibble = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const I low = _mm256_set1_epi8(15);
  const I x = _mm256_xor_si256(a, b);
  const I count_low = _mm256_shuffle_epi8(of_nibble, _mm256_and_si256(x, low));
  const I count_high = _mm256_shuffle_epi8(of_nibble, _mm256_and_si256(_mm256_srli_epi32(x, 4), low));
  return _mm256_add_epi8(n, _mm256_add_epi8(count_low, count_high));
}
INLINE I counted(Count n) {
  const I pairs = _mm256_maddubs_epi16(n, _mm256_set1_epi8(1));
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

INLINE F half_to_float(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }

INLINE void transpose_bits(const Bits (*bits)[32], uint32_t *words) {
  for (int r = 0; r < ROWS; ++r) {
    I x = _mm256_loadu_si256((const __m256i *)bits[r]);
    for (int t = LANES - 1; t >= 0; --t) {
      words[r * LANES + t] = uint32_t(_mm256_movemask_epi8(x));
      x = _mm256_add_epi8(x, x);
    }
  }
}

INLINE void transpose_block(const float *const *in, int first, float *out, int stride) {
  F r[8], s[8];
  for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(in[i] + first);
  for (int i = 0; i < 8; i += 2) {
    s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(s[i]), _mm256_castps_pd(s[i + 2])));
    r[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(s[i]), _mm256_castps_pd(s[i + 2])));
    r[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(s[i + 1]), _mm256_castps_pd(s[i + 3])));
    r[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(s[i + 1]), _mm256_castps_pd(s[i + 3])));
  }
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(out + i * stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    _mm256_storeu_ps(out + (i + 4) * stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
}

} // namespace bhvit::ISA
