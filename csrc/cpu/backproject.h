// Token grids of 2D views carried to points, without the upsampled image: a point's sum over its pixels is one weight a
// token, added up over the grid first, times the token. Sums do not depend on the number of threads or on the
// instruction set: weights are added in float64 in the order of the pixels, tokens in their own order, never fused.
#pragma once

#include <cstdint>

namespace pa3d {

// As torch.nn.functional.interpolate defines them, align_corners=False; bicubic with A = -0.75, borders clamped.
enum class Upsampling { nearest, bilinear, bicubic };

struct TokenGrids {
  const void* data = nullptr;  // (views, rows, columns, channels), float32 or bfloat16
  bool bfloat16 = false;
  int64_t views = 0, rows = 0, columns = 0, channels = 0;
};

struct PixelMap {
  const void* data = nullptr;  // (views, height, width), int32 or int64; what is not in 0 .. n_points - 1 is no point
  bool wide = false;
  int64_t height = 0, width = 0;  // height * width < 2^31
};

// sum (n_points, channels) and count (n_points,), zero at first. per_view: a view's pixels count as one, their mean,
// and views are counted instead of pixels.
void backproject(const TokenGrids& grids, const PixelMap& pixels, int64_t n_points, Upsampling mode, bool per_view,
                 int threads, float* sum, int64_t* count);

}  // namespace pa3d
