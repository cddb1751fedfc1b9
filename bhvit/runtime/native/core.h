/* The plain C interface of the packed runtime: what a model is made of, and how it is run.

   Python (bhvit/runtime/native.py) reads and checks the file, and hands over pointers into it; nothing here parses
   anything. Every struct is mirrored there with ctypes; bhvit_struct_sizes() lets it check that both agree.
   Maps are channels-last: token t of a map of side r is pixel (t / r, t % r), its channels contiguous. */
#pragma once
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BHVIT_ABI 4 /* to be raised with every change of what this file says */
#define BHVIT_PANEL 16 /* output columns of a weight panel */
#define BHVIT_MAX_THREADS 256

/* In this order: what takes signs, integer levels, real values. */
enum { BHVIT_BINARY = 0, BHVIT_TERNARY = 1, BHVIT_INT2 = 2, BHVIT_INT4 = 3, BHVIT_INT8 = 4, BHVIT_FP16 = 5, BHVIT_FP32 = 6 };

/* Quantized activations times quantized weights: a linear layer (taps 1, groups 1) or a convolution.

   weight, for each group and each panel of 16 output columns (the last one padded with zeros), with
   K = taps * channels inputs, input k = tap * channels + channel:
     BINARY  uint32 [tap][ceil(channels / 32)][16]   bit b of word w is the sign of channel 32 w + b: 1 is positive;
                                                     bits beyond the channels are 0
     TERNARY uint32 [2][tap][ceil(channels / 32)][16] two planes of such bits, whose signs' mean is the weight
     INT2, INT4  uint8 [ceil(K / 2)][16]             low nibble input 2 i, high nibble input 2 i + 1, two's complement
     INT8    int8   [ceil(K / 2)][16][2]             inputs 2 i and 2 i + 1 of a column side by side
     FP16    half   [K][16]
     FP32    float  [K][16]
   The product is scale[column] * accumulator + bias[column]. Activations: sign(x + shift) with sign(0) = +1;
   round(clamp((x + shift) / step, -2^(b-1), 2^(b-1) - 1)), half to even; or x + shift. Columns are numbered
   group * columns + column over all groups, shifts group * channels + channel. */
typedef struct {
  int32_t kind;
  int32_t groups;
  int32_t columns;  /* a group */
  int32_t taps;
  int32_t channels; /* inputs a tap and group */
  float step;       /* of the activations, > 0; INT2, INT4 and INT8 only */
  const void *weight;
  const float *scale; /* [groups * columns], or NULL for 1 (folded into the norm that follows, step included) */
  const float *bias;  /* [groups * columns], or NULL for 0 */
  const float *shift; /* [groups * channels], or NULL for 0 */
} bhvit_product;

/* layer == 0: x * scale + shift per channel (batch norm, folded); layer == 1: (x - mean) / sqrt(variance + 1e-5)
   over the channels of a token, times scale plus shift. */
typedef struct {
  int32_t layer;
  const float *scale, *shift;
} bhvit_norm;

typedef struct { const float *shift_in, *slope, *shift_out; } bhvit_rprelu;
typedef struct { const float *alpha, *shift; } bhvit_scale; /* LayerScale; both NULL: none */

/* RPReLU(norm(product(x)) + resize(x)) */
typedef struct { bhvit_product product; bhvit_norm norm; bhvit_rprelu rprelu; } bhvit_residual;

typedef struct {
  int32_t image_size, channels, gelu, reserved; /* gelu 1: of what the norm gives */
  bhvit_product product; /* 4 x 4 patches: input (colour * 4 + row) * 4 + column of the patch, 48 in all; has a bias */
  bhvit_norm norm;
  const float *position;            /* [tokens][channels] */
  const float *image_scale, *image_shift; /* [3]: uint8 value * scale + shift is what the network was trained on */
} bhvit_stem;

typedef struct {
  bhvit_norm norm_before;
  bhvit_product convs[3]; /* 3 x 3 at dilations 1, 3, 5; taps row by row; all share one shift */
  bhvit_rprelu rprelus[3];
  bhvit_norm norm;
} bhvit_mixer;

typedef struct { bhvit_residual project; const float *shift; float step; int32_t reserved; } bhvit_projection;

/* Windows of g x g tokens that also see a summary token of every window. */
typedef struct {
  int32_t window, reserved;
  const float *summary_mix; /* a: a * maxpool + (1 - a) * avgpool */
  bhvit_norm token_norm;    /* always over channels */
  const float *mix;         /* b: b * window part + (1 - b) * summary part */
} bhvit_windows;

/* Without windows every token sees the averages of all patches of R x R tokens (reduction_ratio) after `reduction`, and the residuals
   of keys and values are those of a token's patch. */
typedef struct {
  bhvit_norm norm_before;
  int32_t heads, kind, reduction_ratio, reserved; /* kind: of activations, as in bhvit_product; never TERNARY */
  const bhvit_windows *windows;         /* or NULL */
  const bhvit_residual *reduction;      /* NULL where R is 1 */
  bhvit_projection query, key, value;   /* shift and step of what is multiplied with one another */
  const float *probability_scale;       /* [heads]: alpha (binary) or step (levels); NULL where real-valued */
  const float *probability_zero;        /* [heads], binary with windows: two bits; else one bit, 1 where P > scale / 2 */
  bhvit_norm norm;
  bhvit_rprelu rprelu;
  bhvit_residual output;
  bhvit_scale layer_scale;
} bhvit_attention;

typedef struct {
  bhvit_norm norm_after;
  int32_t intermediate, reach;            /* reach R of the branches; 0: none */
  int32_t circular, reserved;             /* beyond its border a map goes on at its other side (1), or is 0 */
  bhvit_residual expand, project;
  bhvit_scale layer_scale;
  const float *height_taps, *width_taps;  /* [2 R + 1][channels]: weights of x[i - R] .. x[i + R] */
  const float *branch_shift;              /* [channels]: sum of the shifts of all branches */
} bhvit_mlp;

typedef struct {
  bhvit_norm norm_in;
  bhvit_product product; /* 2 x 2, stride 2; taps row by row */
  bhvit_norm norm;
  int32_t residual, reserved; /* 1: RPReLU(norm(product) + tile(avgpool)) + position; 0: norm(product) + position */
  bhvit_rprelu rprelu;
  const float *position; /* [tokens][channels out] */
} bhvit_downsample;

typedef struct {
  bhvit_norm norm;
  bhvit_product product; /* of the mean over tokens; has a bias */
} bhvit_head;

/* One block: exactly one of mixer and attention is set. */
typedef struct { const bhvit_mixer *mixer; const bhvit_attention *attention; const bhvit_mlp *mlp; } bhvit_block;

typedef struct {
  const bhvit_downsample *downsample; /* into this stage; NULL for stage 0 */
  int32_t side, channels, depth, reserved;
  const bhvit_block *blocks;
} bhvit_stage;

typedef struct {
  const bhvit_stem *stem;
  int32_t stage_count, reserved;
  const bhvit_stage *stages;
  const bhvit_head *head;
} bhvit_model;

/* Sizes of product, norm, rprelu, scale, residual, stem, mixer, projection, windows, attention, mlp, downsample, head,
   block, stage, model, in this order. */
int32_t bhvit_abi(void);
const int32_t *bhvit_struct_sizes(int32_t *count);

/* Instruction sets that this library has and this processor can run, best first, as "avx512 avx2 scalar". */
const char *bhvit_instruction_sets(void);

/* Bytes of working memory that a run with `threads` threads (at most BHVIT_MAX_THREADS) needs, or -1 for other threads or an
   unknown instruction set; workspace must be aligned to 64. */
int64_t bhvit_workspace_bytes(const bhvit_model *model, const char *instruction_set, int32_t threads);

/* Logits [classes] of one image. `image`: uint8 [S][S][3] (is_float 0) or float [3][S][S] (is_float 1).
   `seconds`, or NULL: receives the time of every layer: stem, then per stage: downsample (not in stage 0) and per block:
   mixer or attention, MLP; then head.
   Returns 0, or -1 where bhvit_workspace_bytes does. Reads the model only: any number of threads may run it at once, each with
   its own workspace. */
int32_t bhvit_run(const bhvit_model *model, const char *instruction_set, int32_t threads, void *workspace,
                  const void *image, int32_t is_float, float *logits, double *seconds);

/* One layer by itself, for tests and calibration: `layer` numbered as in `seconds`, from the map `in` to the map `out`
   (the head gives logits; the stem takes a float image). Returns 0, or -1 where bhvit_workspace_bytes does or there is no such layer. */
int32_t bhvit_run_layer(const bhvit_model *model, const char *instruction_set, int32_t threads, void *workspace,
                        int32_t layer, const float *in, float *out);

/* The integer (or float) accumulators of a product, for tests: x [tokens][groups * channels * taps], an input row a
   token, tap-major ([tap][group][channel]); `valid` [tokens][taps] is 0 where a tap is zero padding, or NULL.
   accumulators [tokens][groups * columns], before scale and bias. */
int32_t bhvit_accumulate(const bhvit_product *product, const char *instruction_set, const float *x,
                         const uint8_t *valid, int32_t tokens, float *accumulators);

#ifdef __cplusplus
}
#endif
