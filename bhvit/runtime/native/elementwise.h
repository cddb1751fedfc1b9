// Element-wise functions of vectors, and normalisation of rows (a token's channels) and of tiles (columns of TILE tokens).
#pragma once
#include "core.h"

namespace bhvit::ISA {

constexpr float NORM_EPS = 1e-5f;

// e^x for x <= 0, relative error 2e-7; e^-87 below -87. Positive only beside infinities, where it must not overflow.
INLINE F exp_negative(F x) {
  x = max(min(x, set(0.0f)), set(-87.0f));
  const F n = round(mul(x, set(1.44269504f)));
  F r = fma(n, set(-0.693359375f), x);
  r = fma(n, set(2.12194440e-4f), r);
  F p = fma(set(1.9875691500e-4f), r, set(1.3981999507e-3f));
  p = fma(p, r, set(8.3334519073e-3f));
  p = fma(p, r, set(4.1665795894e-2f));
  p = fma(p, r, set(1.6666665459e-1f));
  p = fma(p, r, set(5.0000001201e-1f));
  p = fma(p, mul(r, r), add(r, set(1.0f)));
  return mul(p, power_of_two(n));
}

// x * Phi(x), with the error function of Abramowitz and Stegun 7.1.26 (absolute error 1.5e-7).
INLINE F gelu(F x) {
  const F z = mul(copysign(x, set(1.0f)), set(0.70710678f));
  const F t = div(set(1.0f), fma(set(0.3275911f), z, set(1.0f)));
  F p = fma(set(1.061405429f), t, set(-1.453152027f));
  p = fma(p, t, set(1.421413741f));
  p = fma(p, t, set(-0.284496736f));
  p = fma(p, t, set(0.254829592f));
  const F tail = mul(mul(p, t), exp_negative(mul(sub(set(0.0f), z), z)));
  const F erf = copysign(sub(set(1.0f), tail), x);
  return mul(mul(set(0.5f), x), add(set(1.0f), erf));
}

// y = norm(x) for the n channels of one token; y may be x.
static void norm_row(const bhvit_norm &norm, int n, const float *x, float *y) {
  float mean = 0, factor = 1;
  if (norm.layer) {
    F total = set(0.0f), squares = set(0.0f);
    int c = 0;
    for (; c + LANES <= n; c += LANES) total = add(total, load(x + c));
    mean = sum(total);
    for (; c < n; ++c) mean += x[c];
    mean /= float(n);
    for (c = 0; c + LANES <= n; c += LANES) {
      const F d = sub(load(x + c), set(mean));
      squares = fma(d, d, squares);
    }
    float variance = sum(squares);
    for (; c < n; ++c) variance += (x[c] - mean) * (x[c] - mean);
    factor = 1.0f / sqrtf(variance / float(n) + NORM_EPS);
  }
  const F m = set(mean), f = set(factor);
  int c = 0;
  if (norm.layer)
    for (; c + LANES <= n; c += LANES) store(y + c, fma(mul(sub(load(x + c), m), f), load(norm.scale + c), load(norm.shift + c)));
  else
    for (; c + LANES <= n; c += LANES) store(y + c, fma(load(x + c), load(norm.scale + c), load(norm.shift + c)));
  for (; c < n; ++c) y[c] = (x[c] - mean) * factor * norm.scale[c] + norm.shift[c];
}

// y = norm(x) for `count` tokens.
static void norm_rows(const bhvit_norm &norm, int n, int count, const float *x, float *y) {
  if (norm.layer) {
    for (int t = 0; t < count; ++t) norm_row(norm, n, x + t * n, y + t * n);
    return;
  }
  int c = 0;
  for (; c + LANES <= n; c += LANES) {
    const F scale = load(norm.scale + c), shift = load(norm.shift + c);
    for (int t = 0; t < count; ++t) store(y + t * n + c, fma(load(x + t * n + c), scale, shift));
  }
  for (; c < n; ++c)
    for (int t = 0; t < count; ++t) y[t * n + c] = x[t * n + c] * norm.scale[c] + norm.shift[c];
}

// Normalises the tokens of a tile in place, without a norm's scale and shift: x [n][TILE].
static void standardise_tile(int n, float *x) {
  for (int r = 0; r < ROWS; ++r) {
    float *lane = x + r * LANES;
    F mean = set(0.0f), variance = set(0.0f);
    for (int c = 0; c < n; ++c) mean = add(mean, load(lane + c * TILE));
    mean = div(mean, set(float(n)));
    for (int c = 0; c < n; ++c) {
      const F d = sub(load(lane + c * TILE), mean);
      variance = fma(d, d, variance);
    }
    const F factor = div(set(1.0f), sqrt(add(div(variance, set(float(n))), set(NORM_EPS))));
    for (int c = 0; c < n; ++c) store(lane + c * TILE, mul(sub(load(lane + c * TILE), mean), factor));
  }
}

// sum = x + y
INLINE void add_rows(int n, const float *x, const float *y, float *sum) {
  int c = 0;
  for (; c + LANES <= n; c += LANES) store(sum + c, add(load(x + c), load(y + c)));
  for (; c < n; ++c) sum[c] = x[c] + y[c];
}

// y += x
INLINE void add_row(int n, const float *x, float *y) { add_rows(n, x, y, y); }

} // namespace bhvit::ISA
