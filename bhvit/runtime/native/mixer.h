// The token mixer: three grouped, dilated 3 x 3 convolutions of the same signs (MSGDC).
#pragma once
#include "buffers.h"

namespace bhvit::ISA {

constexpr int TAPS = 9;
constexpr int DILATIONS[3] = {1, 3, 5};

// Signs of norm(h) + shift, a padded plane for every word of every group; the border is 0.
static void mixer_planes(Run &run, const bhvit_mixer &m, int side, int channels) {
  const bhvit_product &conv = m.convs[0];
  const int words = words_of(conv.channels), width = plane_width(side);
  const int64_t plane = plane_size(side);
  memset(run.buffers.planes, 0, size_t(plane * conv.groups * words) * sizeof(uint32_t));
  parallel_for(run.threads, side, [&](int y, int thread) {
    float *u = run.buffers.scratch[thread].rows;
    for (int x = 0; x < side; ++x) {
      norm_row(m.norm_before, channels, run.buffers.map + (int64_t(y) * side + x) * channels, u);
      uint32_t *at = run.buffers.planes + int64_t(y + REACH) * width + x + REACH;
      for (int g = 0; g < conv.groups; ++g)
        pack_row(u + g * conv.channels, conv.shift ? conv.shift + g * conv.channels : nullptr, conv.channels, at + g * words * plane, plane);
    }
  });
}

static void mixer_corrections(const bhvit_mixer &m, int channels, float *corrections) { // [conv][tap][channels]
  for (int d = 0; d < 3; ++d)
    for (int column = 0; column < channels; ++column)
      for (int tap = 0; tap < TAPS; ++tap) corrections[(d * TAPS + tap) * channels + column] = padding_correction(m.convs[d], column, tap);
}

struct Segment { int y, x, skip, count; }; // LANES tokens of a row from x on, of which [skip, count) are wanted

INLINE Segment segment_of(int side, int index) {
  const int a_row = (side + LANES - 1) / LANES, y = index / a_row, x = index % a_row * LANES;
  if (side < LANES) return {y, 0, 0, side};
  const int last = side - LANES;
  return x <= last ? Segment{y, x, 0, LANES} : Segment{y, last, x - last, LANES};
}

// outside[tap][TILE]: 1 where a tap is zero padding. Returns whether any is.
static bool padding_of(const Segment *segments, int side, int dilation, float (*outside)[TILE], bool *any) {
  bool some = false;
  for (int tap = 0; tap < TAPS; ++tap) {
    const int dy = (tap / 3 - 1) * dilation, dx = (tap % 3 - 1) * dilation;
    any[tap] = false;
    for (int r = 0; r < ROWS; ++r) {
      const Segment &s = segments[r];
      const bool row = s.y + dy < 0 || s.y + dy >= side;
      if (!row && s.x + dx >= 0 && s.x + LANES - 1 + dx < side) {
        memset(outside[tap] + r * LANES, 0, LANES * sizeof(float));
        continue;
      }
      any[tap] = some = true;
      for (int t = 0; t < LANES; ++t) outside[tap][r * LANES + t] = row || s.x + t + dx < 0 || s.x + t + dx >= side;
    }
  }
  return some;
}

struct MixerConstants {
  float *factor[3], *offset[3]; // of the accumulators, without the RPReLU's first shift
  float *scale, *shift;         // of the sum of PReLUs: the norm and the RPReLUs' second shifts, or those shifts alone (LayerNorm)
};

static MixerConstants fold_mixer(const bhvit_mixer &m, int channels, Constants constants) {
  MixerConstants k;
  k.scale = constants.take(channels);
  k.shift = constants.take(channels);
  for (int d = 0; d < 3; ++d) {
    k.factor[d] = constants.take(channels);
    k.offset[d] = constants.take(channels);
    affine_of(m.convs[d], nullptr, k.factor[d], k.offset[d]);
    for (int c = 0; c < channels; ++c) k.offset[d][c] -= m.rprelus[d].shift_in[c];
  }
  for (int c = 0; c < channels; ++c) {
    const float shifts = m.rprelus[0].shift_out[c] + m.rprelus[1].shift_out[c] + m.rprelus[2].shift_out[c];
    k.scale[c] = m.norm.layer ? 1.0f : m.norm.scale[c];
    k.shift[c] = m.norm.layer ? shifts : shifts * m.norm.scale[c] + m.norm.shift[c];
  }
  return k;
}

// Adds s.columns [channels][TILE], which LayerNorm still has to normalise, to the tokens of a tile.
template <class Token> INLINE void add_mixed(const bhvit_norm &norm, int channels, Scratch &s, Token token) {
  if (norm.layer) {
    standardise_tile(channels, s.columns);
    for (int c = 0; c < channels; ++c)
      for (int r = 0; r < ROWS; ++r) {
        float *at = s.columns + c * TILE + r * LANES;
        store(at, fma(load(at), set(norm.scale[c]), set(norm.shift[c])));
      }
  }
  rows_of(s.columns, channels, s.rows);
  for (int t = 0; t < TILE; ++t)
    if (float *row = token(t)) add_row(channels, s.rows + t * channels, row);
}

// The operands of the three convolutions of a group, one behind the other.
static void mixer_operands(const Run &run, const bhvit_product &conv, int side, int group, const Segment *segments, uint32_t *out) {
  const int words = words_of(conv.channels), width = plane_width(side);
  const int64_t plane = plane_size(side);
  for (int d = 0; d < 3; ++d)
    for (int tap = 0; tap < TAPS; ++tap)
      for (int w = 0; w < words; ++w)
        for (int r = 0; r < ROWS; ++r, out += LANES) {
          const int64_t y = segments[r].y + REACH + (tap / 3 - 1) * DILATIONS[d], x = segments[r].x + REACH + (tap % 3 - 1) * DILATIONS[d];
          store_words(out, load_words(run.buffers.planes + (group * words + w) * plane + y * width + x));
        }
}

static void binary_mixer_tile(Run &run, const bhvit_mixer &m, const MixerConstants &k, int side, int channels, int tile, Scratch &s) {
  const int segments_in_all = side * ((side + LANES - 1) / LANES);
  Segment segments[ROWS];
  for (int r = 0; r < ROWS; ++r) {
    const int index = tile * ROWS + r;
    segments[r] = segment_of(side, index < segments_in_all ? index : segments_in_all - 1);
    if (index >= segments_in_all) segments[r].skip = segments[r].count;
  }
  float outside[3][TAPS][TILE];
  bool any[3][TAPS], border[3];
  for (int d = 0; d < 3; ++d) border[d] = padding_of(segments, side, DILATIONS[d], outside[d], any[d]);
  const bhvit_product &conv = m.convs[0];
  const int depth = depth_of(conv), panels = (conv.columns + PANEL - 1) / PANEL;
  for (int g = 0; g < conv.groups; ++g) {
    mixer_operands(run, conv, side, g, segments, s.operand);
    for (int panel = 0; panel < panels; ++panel) {
      const int columns = conv.columns - panel * PANEL < PANEL ? conv.columns - panel * PANEL : PANEL;
      for (int d = 0; d < 3; ++d)
        panel_product(m.convs[d], s.operand + d * depth * TILE, int64_t(g) * panels + panel, columns, s.chunk, s.y + d * PANEL * TILE);
      for (int i = 0; i < columns; ++i) {
        const int column = g * conv.columns + panel * PANEL + i;
        F total[ROWS];
        UNROLL for (int r = 0; r < ROWS; ++r) total[r] = set(0.0f);
        UNROLL for (int d = 0; d < 3; ++d) {
          F n[ROWS];
          UNROLL for (int r = 0; r < ROWS; ++r) n[r] = load(s.y + (d * PANEL + i) * TILE + r * LANES);
          if (border[d])
            for (int tap = 0; tap < TAPS; ++tap)
              if (any[d][tap]) {
                const F correction = set(run.buffers.corrections[(d * TAPS + tap) * channels + column]);
                UNROLL for (int r = 0; r < ROWS; ++r) n[r] = fma(correction, load(outside[d][tap] + r * LANES), n[r]);
              }
          const F factor = set(k.factor[d][column]), offset = set(k.offset[d][column]), slope = set(m.rprelus[d].slope[column]);
          UNROLL for (int r = 0; r < ROWS; ++r) total[r] = add(total[r], prelu(fma(n[r], factor, offset), slope));
        }
        UNROLL for (int r = 0; r < ROWS; ++r)
          store(s.columns + column * TILE + r * LANES, fma(total[r], set(k.scale[column]), set(k.shift[column])));
      }
    }
  }
  add_mixed(m.norm, channels, s, [&](int t) -> float * {
    const Segment &segment = segments[t / LANES];
    const int lane = t % LANES;
    if (lane < segment.skip || lane >= segment.count) return nullptr;
    return run.buffers.map + (int64_t(segment.y) * side + segment.x + lane) * channels;
  });
}

static void mixer_tile(Run &run, const bhvit_mixer &m, const MixerConstants &k, int side, int channels, int first, int count, Scratch &s) {
  for (int d = 0; d < 3; ++d) {
    const bhvit_product &p = m.convs[d];
    const float *rows[TAPS * TILE];
    for (int tap = 0; tap < TAPS; ++tap)
      for (int t = 0; t < TILE; ++t) {
        const int token = first + (t < count ? t : 0);
        const int y = token / side + (tap / 3 - 1) * DILATIONS[d], x = token % side + (tap % 3 - 1) * DILATIONS[d];
        const bool inside = y >= 0 && y < side && x >= 0 && x < side;
        rows[tap * TILE + t] = inside ? run.buffers.normed + (int64_t(y) * side + x) * channels : nullptr;
      }
    for (int g = 0; g < p.groups; ++g) {
      operand_of_rows(p, g, rows, s.residual, s.zeros, s.operand);
      each_column(p, k.factor[d], k.offset[d], g, s.operand, s, [&](int column, const F *y) {
        const F slope = set(m.rprelus[d].slope[column]);
        UNROLL for (int r = 0; r < ROWS; ++r) {
          float *at = s.columns + column * TILE + r * LANES;
          const F total = d ? add(load(at), prelu(y[r], slope)) : prelu(y[r], slope);
          store(at, d < 2 ? total : fma(total, set(k.scale[column]), set(k.shift[column])));
        }
      });
    }
  }
  add_mixed(m.norm, channels, s, [&](int t) { return t < count ? run.buffers.map + int64_t(first + t) * channels : nullptr; });
}

// map += mixer(norm_before(map))
static void run_mixer(Run &run, const bhvit_mixer &m, int side, int channels) {
  const MixerConstants k = fold_mixer(m, channels, {run.buffers.constants});
  if (m.convs[0].kind == BHVIT_BINARY) {
    mixer_planes(run, m, side, channels);
    mixer_corrections(m, channels, run.buffers.corrections);
    const int segments = side * ((side + LANES - 1) / LANES);
    parallel_for(run.threads, (segments + ROWS - 1) / ROWS, [&](int tile, int thread) {
      binary_mixer_tile(run, m, k, side, channels, tile, run.buffers.scratch[thread]);
    });
    return;
  }
  run.norm_map(m.norm_before, side * side, channels, run.buffers.map, run.buffers.normed);
  run.tiles(side * side, [&](int first, int count, Scratch &s) { mixer_tile(run, m, k, side, channels, first, count, s); });
}

} // namespace bhvit::ISA
