// The text encoder that comes with pa3d: tokens to unit vectors. all-MiniLM-L6-v2 is BERT (Devlin et al. 2019, arXiv
// 1810.04805) with six post-norm blocks. A text's vector is the mean of the outputs of its tokens, normalised.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace pa3d {

struct TextConfig {
  int64_t vocabulary = 30522, max_tokens = 256, width = 384, heads = 12, hidden = 1536, depth = 6;
  float norm_eps = 1e-12f;
};

// Functions that return a weight by its name in the layout of scripts/convert_minilm.py: matrices are int16 with a
// float32 scale per row. `count` is the expected number of values. Both throw if there is no such weight or its size
// differs. The memory must live as long as the encoder, which reads token embeddings in place.
struct TextWeights {
  std::function<const int16_t*(const std::string& name, int64_t count)> integers;
  std::function<const float*(const std::string& name, int64_t count)> floats;
};

// Immutable after construction: any number of threads may call encode at once, each with a workspace of its own.
class TextEncoder {
 public:
  class Workspace {
   public:
    virtual ~Workspace() = default;
  };

  virtual ~TextEncoder() = default;
  virtual std::unique_ptr<Workspace> workspace() const = 0;
  // ids: the tokens of all texts, one text after the other. lengths (n): the number of tokens of each text, 1 to
  // max_tokens. out (n, width): unit vectors. A text's vector depends neither on the other texts nor on threads. Throws
  // std::invalid_argument for ids or lengths out of range.
  virtual void encode(const int32_t* ids, const int64_t* lengths, int64_t n, int threads, Workspace& workspace,
                      float* out) const = 0;
  virtual const TextConfig& config() const = 0;
};

// Packs the weights for the instruction set (ISA) in use.
std::unique_ptr<TextEncoder> make_text_encoder(const TextConfig& config, const TextWeights& weights, int threads);

}  // namespace pa3d
