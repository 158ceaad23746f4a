// Carries the token grids of 2D views to 3D points. Every pixel that shows a point gets a token interpolated from its
// view's grid. The tokens of a point's pixels are summed. The upsampled images are never stored.
//
// Interpolation is separable. First, rows of pixels are interpolated down the grid (between grid rows). One band of
// image rows and a few channels are taken at a time, so that they stay in the cache. Then they are interpolated across
// (between grid columns), only at pixels that show a point, and summed. There are two ways to sum. Usually a band's
// pixels are summed point by point. If the pixels of points are scattered over the image, they are summed in pixel
// order. The sums of a few channels of all points then stay in the cache and are written out once.
//
// Results do not depend on the number of threads or on the instruction set. Channels are independent. The pixels of a
// point are added in a fixed order, and products and sums are not fused. Which of the two ways is taken depends only on
// the pixels.
#pragma once

#include <cstdint>

namespace pa3d {

// As torch.nn.functional.interpolate defines them, align_corners=False; bicubic with A = -0.75, borders clamped.
enum class Upsampling { nearest, bilinear, bicubic };

constexpr int64_t kMaxBackprojectSide = 32767;  // rows or columns of a grid or an image

struct TokenGrids {
  const void* data = nullptr;  // (views, rows, columns, channels), float32 or bfloat16
  bool bfloat16 = false;
  int64_t views = 0, rows = 0, columns = 0, channels = 0;
};

struct PixelMap {
  const void* data = nullptr;  // (views, height, width), int32 or int64; values outside 0 .. n_points - 1 mean no point
  bool int64 = false;
  int64_t height = 0, width = 0;
};

// Adds to sum (n_points, channels) and count (n_points,), which must be zero at first; rows of points without a pixel
// are not touched. per_view: the mean of a point's pixels in a view is added instead of their sum, and count is the
// number of views.
void backproject(const TokenGrids& grids, const PixelMap& pixels, int64_t n_points, Upsampling mode, bool per_view,
                 int threads, float* sum, int64_t* count);

}  // namespace pa3d
