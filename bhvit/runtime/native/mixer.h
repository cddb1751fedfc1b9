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
  parallel_for(run.pool, side, [&](int y, int thread) {
    float *u = run.buffers.scratch[thread].rows;
    for (int x = 0; x < side; ++x) {
      norm_row(m.norm_before, channels, run.buffers.map + (int64_t(y) * side + x) * channels, u);
      uint32_t *at = run.buffers.planes + int64_t(y + REACH) * width + x + REACH;
      for (int g = 0; g < conv.groups; ++g)
        pack_row(u + g * conv.channels, conv.shift ? conv.shift + g * conv.channels : nullptr, conv.channels, at + g * words * plane, plane);
    }
  });
}

// Which taps along one axis a token loses to the padding: none, the first or the last third (or, on tiny maps, both).
constexpr int CUTS = 4; // bit 0: first, bit 1: last

INLINE int cut_of(int i, int side, int dilation) { return (i < dilation ? 1 : 0) | (i + dilation >= side ? 2 : 0); }

// What padding adds to the differing bits: corrections [conv][cut along height][cut along width][channels].
static void mixer_corrections(const bhvit_mixer &m, int channels, float *corrections) {
  for (int d = 0; d < 3; ++d)
    for (int c = 0; c < channels; ++c) {
      float of_tap[TAPS];
      for (int tap = 0; tap < TAPS; ++tap) of_tap[tap] = padding_correction(m.convs[d], c, tap);
      for (int cut = 0; cut < CUTS * CUTS; ++cut) {
        const int rows = cut / CUTS, columns = cut % CUTS;
        float total = 0;
        for (int tap = 0; tap < TAPS; ++tap) {
          const int row = tap / 3, column = tap % 3;
          const bool outside = (row == 0 && rows & 1) || (row == 2 && rows & 2) || (column == 0 && columns & 1) || (column == 2 && columns & 2);
          total += outside ? of_tap[tap] : 0.0f;
        }
        corrections[(d * CUTS * CUTS + cut) * channels + c] = total;
      }
    }
}

struct Segment { int y, x, skip, count; }; // LANES tokens of a row from x on, of which [skip, count) are wanted

INLINE Segment segment_of(int side, int index) {
  const int a_row = (side + LANES - 1) / LANES, y = index / a_row, x = index % a_row * LANES;
  if (side < LANES) return {y, 0, 0, side};
  const int last = side - LANES;
  return x <= last ? Segment{y, x, 0, LANES} : Segment{y, last, x - last, LANES};
}

// The tokens of a segment that lose taps of one convolution to the padding, by how they are cut.
struct Borders {
  int count;
  const float *corrections[CUTS]; // [channels]
  F lanes[CUTS];                  // 1 where they apply
};

static Borders borders_of(const Segment &s, int side, int dilation, const float *corrections, int channels) {
  Borders b;
  b.count = 0;
  const int rows = cut_of(s.y, side, dilation);
  int cuts[LANES], seen = 0;
  for (int t = 0; t < LANES; ++t) seen |= 1 << (cuts[t] = s.x + t < side ? cut_of(s.x + t, side, dilation) : 0);
  for (int cut = 0; cut < CUTS; ++cut) {
    if (!(seen >> cut & 1) || (!rows && !cut)) continue;
    float lanes[LANES];
    for (int t = 0; t < LANES; ++t) lanes[t] = cuts[t] == cut ? 1.0f : 0.0f;
    b.corrections[b.count] = corrections + (rows * CUTS + cut) * channels;
    b.lanes[b.count++] = load(lanes);
  }
  return b;
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
  Borders borders[3][ROWS];
  for (int d = 0; d < 3; ++d)
    for (int r = 0; r < ROWS; ++r)
      borders[d][r] = borders_of(segments[r], side, DILATIONS[d], run.buffers.corrections + d * CUTS * CUTS * channels, channels);
  const bhvit_product &conv = m.convs[0];
  const int depth = depth_of(conv), panels = (conv.columns + PANEL - 1) / PANEL;
  for (int g = 0; g < conv.groups; ++g) {
    mixer_operands(run, conv, side, g, segments, s.operand);
    for (int panel = 0; panel < panels; ++panel) {
      const int columns = conv.columns - panel * PANEL < PANEL ? conv.columns - panel * PANEL : PANEL;
      for (int d = 0; d < 3; ++d)
        panel_product(m.convs[d], s.operand + d * depth * TILE, int64_t(g) * panels + panel, columns, TILE, s.chunk, s.y + d * PANEL * TILE);
      for (int i = 0; i < columns; ++i) {
        const int column = g * conv.columns + panel * PANEL + i;
        F total[ROWS];
        UNROLL for (int r = 0; r < ROWS; ++r) total[r] = set(0.0f);
        UNROLL for (int d = 0; d < 3; ++d) {
          const F factor = set(k.factor[d][column]), offset = set(k.offset[d][column]), slope = set(m.rprelus[d].slope[column]);
          UNROLL for (int r = 0; r < ROWS; ++r) {
            F n = load(s.y + (d * PANEL + i) * TILE + r * LANES);
            for (int j = 0; j < borders[d][r].count; ++j) n = fma(set(borders[d][r].corrections[j][column]), borders[d][r].lanes[j], n);
            total[r] = add(total[r], prelu(fma(n, factor, offset), slope));
          }
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
  if (takes_signs(m.convs[0].kind)) {
    mixer_planes(run, m, side, channels);
    mixer_corrections(m, channels, run.buffers.corrections);
    const int segments = side * ((side + LANES - 1) / LANES);
    parallel_for(run.pool, (segments + ROWS - 1) / ROWS, [&](int tile, int thread) {
      binary_mixer_tile(run, m, k, side, channels, tile, run.buffers.scratch[thread]);
    });
    return;
  }
  run.norm_map(m.norm_before, side * side, channels, run.buffers.map, run.buffers.normed);
  run.tiles(side * side, tile_of(m.convs[0]), [&](int first, int count, Scratch &s) { mixer_tile(run, m, k, side, channels, first, count, s); });
}

} // namespace bhvit::ISA
