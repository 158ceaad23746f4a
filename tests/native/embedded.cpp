// The C interface on another machine (tests/test_arm.py):
//
//     embedded MODEL WEIGHTS_FOLDER POINTS PRECISION PART...
//
// POINTS is a file of float32 x y z. Writes to the standard output: centers (G, 3) float32, members (G, M) int64,
// features (G, D) float32, labels (n) int32.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "pa3d.h"

namespace {

void require(pa3d_status status) {
  if (status == PA3D_OK) return;
  std::fprintf(stderr, "%s\n", pa3d_error_message());
  std::exit(1);
}

template <class T>
void write(const std::vector<T>& values) {
  std::fwrite(values.data(), sizeof(T), values.size(), stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) {
    std::fprintf(stderr, "usage: %s MODEL WEIGHTS_FOLDER POINTS PRECISION PART...\n", argv[0]);
    return 2;
  }
  const std::string weights = std::string(argv[2]) + "/minilm-l6-v2.safetensors",
                    tokenizer = std::string(argv[2]) + "/minilm-tokenizer.json";
  std::ifstream file(argv[3], std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  const int64_t n = static_cast<int64_t>(bytes.size()) / 12;
  const float* points = reinterpret_cast<const float*>(bytes.data());

  pa3d_model* model;
  pa3d_text* text;
  pa3d_info info;
  require(pa3d_model_load(argv[1], argv[4], &model));
  require(pa3d_text_load(weights.c_str(), tokenizer.c_str(), &text));
  require(pa3d_model_info(model, &info));
  std::vector<float> centers(3 * info.patches), features(info.patches * info.text_width);
  std::vector<int64_t> members(info.patches * info.patch_size);
  std::vector<int32_t> labels(n);
  require(pa3d_encode(model, points, n, nullptr, centers.data(), members.data(), nullptr, features.data()));
  require(pa3d_segment(model, text, points, n, argv + 5, argc - 5, nullptr, nullptr, labels.data(), nullptr));
  write(centers);
  write(members);
  write(features);
  write(labels);
  pa3d_text_free(text);
  pa3d_model_free(model);
}
