// Token grids of 2D views carried to points, without the upsampled image. Rows of pixels are interpolated down the grid
// first, a band of the image and a few channels at a time, so that they stay in cache; across, they are interpolated at
// the pixels that show a point alone, and added up there: a band's pixels point by point, or, where points are
// scattered over the image, pixel by pixel into sums of few channels that stay in cache and are written out once.
// Results do not depend on the number of threads or on the instruction set: channels are independent, a point's
// pixels are added in their order, never fused, and the pixels alone decide which of the two ways is taken.
#pragma once

#include <cstdint>

namespace pa3d {

// As torch.nn.functional.interpolate defines them, align_corners=False; bicubic with A = -0.75, borders clamped.
enum class Upsampling { nearest, bilinear, bicubic };

constexpr int64_t kMaxBackprojectSide = 32767;  // of grids and of images

struct TokenGrids {
  const void* data = nullptr;  // (views, rows, columns, channels), float32 or bfloat16
  bool bfloat16 = false;
  int64_t views = 0, rows = 0, columns = 0, channels = 0;
};

struct PixelMap {
  const void* data = nullptr;  // (views, height, width), int32 or int64; what is not in 0 .. n_points - 1 is no point
  bool int64 = false;
  int64_t height = 0, width = 0;
};

// sum (n_points, channels) and count (n_points,), zero at first; rows of points without a pixel are not touched.
// per_view: a view's pixels count as one, their mean, and views are counted instead of pixels.
void backproject(const TokenGrids& grids, const PixelMap& pixels, int64_t n_points, Upsampling mode, bool per_view,
                 int threads, float* sum, int64_t* count);

}  // namespace pa3d
