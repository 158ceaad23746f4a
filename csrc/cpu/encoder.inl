namespace pa3d {
namespace PA3D_NS {

#include "vec.inl"
#include "math.inl"
#include "gemm.inl"
#include "patch_embed.inl"
#include "attention.inl"

// out = LayerNorm(x) * gamma + beta over the first `dim` of each row; rows [from, to).
template <class T>
static void layer_norm_rows(const float* x, int64_t stride, int64_t dim, int64_t from, int64_t to, const float* gamma,
                            const float* beta, float eps, typename T::Activation* out, int64_t out_stride) {
  for (int64_t r = from; r < to; ++r) {
    const float* row = x + r * stride;
    // Elements past dim are zero, so the sum may run over whole vectors. The squares of (x - mean) are not, so the last
    // ones are summed one by one.
    vf sum = vf{};
    for (int64_t i = 0; i < dim; i += PA3D_W) sum += load(row + i);
    float total = reduce_add(sum);
    const float mean = total / static_cast<float>(dim);
    vf squares = vf{};
    const vf m = splat(mean);
    int64_t i = 0;
    for (; i + PA3D_W <= dim; i += PA3D_W) {
      const vf d = load(row + i) - m;
      squares += d * d;
    }
    float variance = reduce_add(squares);
    for (; i < dim; ++i) variance += (row[i] - mean) * (row[i] - mean);
    const vf factor = splat(1.0f / std::sqrt(variance / static_cast<float>(dim) + eps));
    for (i = 0; i < dim; i += PA3D_W)
      T::store_f32(out + r * out_stride + i, (load(row + i) - m) * factor * load(gamma + i) + load(beta + i));
  }
}

struct LayerNorm {
  Buffer<float> gamma, beta;
  void load_weights(const WeightSource& weights, const std::string& name, int64_t dim) {
    gamma.resize(align_up(dim));
    beta.resize(align_up(dim));
    std::copy_n(weights(name + ".weight", dim), dim, gamma.data());
    std::copy_n(weights(name + ".bias", dim), dim, beta.data());
  }
};

template <class T>
struct Block {
  LayerNorm norm1, norm2;
  PackedWeight<T> qkv, proj, fc1, fc2;
  void load_weights(const EncoderConfig& c, const WeightSource& weights, const std::string& name) {
    norm1.load_weights(weights, name + "norm1", c.dim);
    norm2.load_weights(weights, name + "norm2", c.dim);
    qkv.pack(weights(name + "attn.qkv.weight", 3 * c.dim * c.dim), 3 * c.dim, c.dim, c.dim, nullptr);
    proj.pack(weights(name + "attn.proj.weight", c.dim * c.dim), c.dim, c.dim, c.dim,
              weights(name + "attn.proj.bias", c.dim));
    fc1.pack(weights(name + "mlp.fc1.weight", c.mlp_hidden * c.dim), c.mlp_hidden, c.dim, c.dim,
             weights(name + "mlp.fc1.bias", c.mlp_hidden));
    fc2.pack(weights(name + "mlp.fc2.weight", c.dim * c.mlp_hidden), c.dim, c.mlp_hidden, c.mlp_hidden,
             weights(name + "mlp.fc2.bias", c.dim));
  }
};

// With this many rows per thread or more, it is faster that every task reads all weights than that threads wait for
// each other (bench/bench_segment.py).
constexpr int64_t kMinRowsPerThread = 48;

template <class T>
class EncoderOf : public Encoder {
 public:
  EncoderOf(const EncoderConfig& c, const WeightSource& weights) : c_(c), blocks_(c.depth) {
    embed_.load_weights(c, weights);
    cls_token_.resize(align_up(c.dim));
    cls_pos_.resize(align_up(c.dim));
    std::copy_n(weights("cls_token", c.dim), c.dim, cls_token_.data());
    std::copy_n(weights("cls_pos", c.dim), c.dim, cls_pos_.data());
    pos1_.pack(weights("pos_embed.0.weight", c.pos_hidden * 3), c.pos_hidden, 3, 3,
               weights("pos_embed.0.bias", c.pos_hidden));
    pos2_.pack(weights("pos_embed.2.weight", c.dim * c.pos_hidden), c.dim, c.pos_hidden, c.pos_hidden,
               weights("pos_embed.2.bias", c.dim));
    for (int64_t i = 0; i < c.depth; ++i)
      blocks_[i].load_weights(c, weights, "blocks.blocks." + std::to_string(i) + ".");
    norm_.load_weights(weights, "norm", c.dim);
    proj_.pack(weights("proj.weight", c.text_dim * c.dim), c.text_dim, c.dim, c.dim, weights("proj.bias", c.text_dim));
    move_weights_to_huge_pages();
  }

  const EncoderConfig& config() const override { return c_; }

 private:
  typedef typename Activations<T>::Stored Stored;
#if PA3D_HAS_BF16
  typedef std::conditional_t<std::is_same_v<T, F32>, F32, BF16> AttnType;  // operands of attention's products
#else
  typedef F32 AttnType;
#endif

 public:
  struct EncoderWorkspace : Workspace {
    Buffer<float> centers, pos_hidden, pos, x, projected;
    Buffer<typename AttnType::Activation> qkv;
    Activations<F32> pooled;
    Activations<T> ln_out, attn_out, hidden;
    std::vector<typename PatchEmbed<T>::Workspace> embed;
    std::vector<AttentionWorkspace<AttnType>> attention;
  };

  std::unique_ptr<Workspace> workspace() const override { return std::make_unique<EncoderWorkspace>(); }

  void forward(const float* points, int64_t n, int threads, Workspace& workspace, int64_t* center_idx, int64_t* members,
               float* tokens, float* features, StageSeconds* times) const override {
    EncoderWorkspace& s = static_cast<EncoderWorkspace&>(workspace);
    const int64_t g = c_.patches, m = c_.patch_size, num_tokens = g + 1, dim = c_.dim;
    const int64_t ld = align_up(dim), ld_qkv = align_up(3 * dim), ld_pos = align_up(c_.pos_hidden),
                  ld_text = align_up(c_.text_dim);
    const int64_t head_dim = dim / c_.heads;
    const int max_threads = resolve_threads(threads);
    s.centers.reserve(g * kRowAlign);
    s.pos_hidden.reserve(g * ld_pos);
    s.pos.reserve(num_tokens * ld);
    s.x.reserve(num_tokens * ld);
    s.qkv.reserve(num_tokens * ld_qkv);
    s.pooled.reserve(g, c_.embed[3]);
    s.ln_out.reserve(num_tokens, dim);
    s.attn_out.reserve(num_tokens, dim);
    s.hidden.reserve(num_tokens, c_.mlp_hidden);
    s.projected.reserve(g * ld_text);
    if (static_cast<int>(s.embed.size()) < max_threads) {
      s.embed.resize(max_threads);
      s.attention.resize(max_threads);
    }
    for (auto& e : s.embed) e.reserve(embed_, m);
    for (auto& a : s.attention) a.reserve(num_tokens, head_dim);

    const auto start = Clock::now();
    const int64_t k = std::min(m, n);
    sample_and_group(points, n, g, k, 0, c_.min_sq_norm, center_idx, members, nullptr);
    if (k < m) {  // repeat the neighbours cyclically; in place, so the last patch comes first
      for (int64_t i = g; i-- > 0;)
        for (int64_t j = m; j-- > 0;) members[i * m + j] = members[i * k + j % k];
    }
    for (int64_t i = 0; i < g; ++i) std::copy_n(points + 3 * center_idx[i], 3, &s.centers[i * kRowAlign]);
    const auto sampled = Clock::now();

    Team team(threads);
    const int64_t num_threads = team.size();
    const int64_t groups = (g + kPatchesPerStep - 1) / kPatchesPerStep;
    team.run(groups + pos1_.panels, [&](int64_t task, int slot) {
      if (task < groups)
        embed_.forward(points, center_idx, members, m, task * kPatchesPerStep,
                       std::min(g, (task + 1) * kPatchesPerStep), s.embed[slot], s.pooled);
      else
        linear<F32, F32, ActFn::gelu>({s.centers.data(), kRowAlign, nullptr, nullptr}, g, pos1_, task - groups,
                                      task - groups + 1, s.pos_hidden.data(), ld_pos);
    });
    std::copy_n(cls_token_.data(), dim, s.x.data());
    std::copy_n(cls_pos_.data(), dim, s.pos.data());
    team.run(embed_.reduce.panels + pos2_.panels, [&](int64_t task, int) {
      if (task < embed_.reduce.panels)
        linear<F32, F32, ActFn::none>(s.pooled.rows(), g, embed_.reduce, task, task + 1, s.x.data() + ld, ld);
      else
        linear<F32, F32, ActFn::none>({s.pos_hidden.data(), ld_pos, nullptr, nullptr}, g, pos2_,
                                      task - embed_.reduce.panels, task - embed_.reduce.panels + 1, s.pos.data() + ld,
                                      ld);
    });
    const auto embedded = Clock::now();

    // With enough rows, a task takes its rows from one attention to the next. Otherwise tasks divide the columns, which
    // reads the weights once.
    const bool by_rows = num_threads == 1 || num_tokens >= kMinRowsPerThread * num_threads;
    const int64_t wanted_tasks = num_threads == 1 ? 1 : kTasksPerThread * num_threads;
    const Chunks rows(num_tokens, wanted_tasks, kMR);
    const auto for_rows = [&](const auto& body) {
      team.run(rows.count, [&](int64_t task, int) { body(rows.begin(task), rows.end(task)); });
    };
    const auto for_columns = [&](const PackedWeight<T>& w, const auto& body) {
      const Chunks panels(w.panels, wanted_tasks, 1);
      team.run(panels.count, [&](int64_t task, int) { body(panels.begin(task), panels.end(task)); });
    };
    const auto before_attention = [&](const Block<T>& block, int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        for (int64_t i = 0; i < dim; i += PA3D_W)
          store(&s.x[r * ld + i], load(&s.x[r * ld + i]) + load(&s.pos[r * ld + i]));
      layer_norm_rows<Stored>(s.x.data(), ld, dim, begin, end, block.norm1.gamma.data(), block.norm1.beta.data(),
                              c_.norm_eps, s.ln_out.row(0), ld);
      s.ln_out.quantize(begin, end);
    };
    const auto before_mlp = [&](const Block<T>& block, int64_t begin, int64_t end) {
      layer_norm_rows<Stored>(s.x.data(), ld, dim, begin, end, block.norm2.gamma.data(), block.norm2.beta.data(),
                              c_.norm_eps, s.ln_out.row(0), ld);
      s.ln_out.quantize(begin, end);
    };
    // The three products after attention, for rows [begin, end) and the columns of panels [from, to).
    const auto proj = [&](const Block<T>& block, int64_t begin, int64_t end, int64_t from, int64_t to) {
      linear_residual<T>(s.attn_out.rows(begin), end - begin, block.proj, from, to, s.x.data() + begin * ld, ld);
    };
    const auto fc1 = [&](const Block<T>& block, int64_t begin, int64_t end, int64_t from, int64_t to) {
      linear<T, Stored, ActFn::gelu>(s.ln_out.rows(begin), end - begin, block.fc1, from, to, s.hidden.row(begin),
                                     s.hidden.stride);
    };
    const auto fc2 = [&](const Block<T>& block, int64_t begin, int64_t end, int64_t from, int64_t to) {
      linear_residual<T>(s.hidden.rows(begin), end - begin, block.fc2, from, to, s.x.data() + begin * ld, ld);
    };
    const bool by_heads = head_dim % kNR == 0 && c_.heads % num_threads == 0;
    if (c_.depth > 0) for_rows([&](int64_t begin, int64_t end) { before_attention(blocks_[0], begin, end); });
    for (int64_t b = 0; b < c_.depth; ++b) {
      const Block<T>& block = blocks_[b];
      if (by_heads) {  // a task computes q, k and v of its own head and needs no others before attention
        team.run(c_.heads, [&](int64_t head, int slot) {
          for (int64_t qkv_index = 0; qkv_index < 3; ++qkv_index) {
            const int64_t first = qkv_index * dim + head * head_dim;
            linear<T, AttnType, ActFn::none>(s.ln_out.rows(), num_tokens, block.qkv, first / kNR,
                                             (first + head_dim) / kNR, s.qkv.data(), ld_qkv);
          }
          attention_head<AttnType, Stored>(s.qkv.data(), ld_qkv, num_tokens, dim, head, head_dim, 0, num_tokens,
                                           s.attention[slot], s.attn_out.row(0), ld);
        });
      } else {
        for_columns(block.qkv, [&](int64_t from, int64_t to) {
          linear<T, AttnType, ActFn::none>(s.ln_out.rows(), num_tokens, block.qkv, from, to, s.qkv.data(), ld_qkv);
        });
        const int64_t splits_per_head = (num_threads + c_.heads - 1) / c_.heads;
        team.run(c_.heads * splits_per_head, [&](int64_t task, int slot) {
          int64_t from, to;
          partition(num_tokens, task % splits_per_head, splits_per_head, &from, &to);
          attention_head<AttnType, Stored>(s.qkv.data(), ld_qkv, num_tokens, dim, task / splits_per_head, head_dim,
                                           from, to, s.attention[slot], s.attn_out.row(0), ld);
        });
      }
      const Block<T>* next = b + 1 < c_.depth ? &blocks_[b + 1] : nullptr;
      if (by_rows) {
        for_rows([&](int64_t begin, int64_t end) {
          s.attn_out.quantize(begin, end);
          proj(block, begin, end, 0, block.proj.panels);
          before_mlp(block, begin, end);
          fc1(block, begin, end, 0, block.fc1.panels);
          s.hidden.quantize(begin, end);
          fc2(block, begin, end, 0, block.fc2.panels);
          if (next) before_attention(*next, begin, end);
        });
        continue;
      }
      if constexpr (T::kQuantized)  // a scale belongs to a whole row, so the row must be complete
        for_rows([&](int64_t begin, int64_t end) { s.attn_out.quantize(begin, end); });
      for_columns(block.proj, [&](int64_t from, int64_t to) { proj(block, 0, num_tokens, from, to); });
      for_rows([&](int64_t begin, int64_t end) { before_mlp(block, begin, end); });
      for_columns(block.fc1, [&](int64_t from, int64_t to) { fc1(block, 0, num_tokens, from, to); });
      if constexpr (T::kQuantized) for_rows([&](int64_t begin, int64_t end) { s.hidden.quantize(begin, end); });
      for_columns(block.fc2, [&](int64_t from, int64_t to) { fc2(block, 0, num_tokens, from, to); });
      if (next) for_rows([&](int64_t begin, int64_t end) { before_attention(*next, begin, end); });
    }
    const auto blocks_done = Clock::now();

    const Chunks patches(g, wanted_tasks, kMR);
    team.run(patches.count, [&](int64_t task, int) {
      const int64_t from = patches.begin(task), to = patches.end(task);
      layer_norm_rows<AttnType>(s.x.data() + ld, ld, dim, from, to, norm_.gamma.data(), norm_.beta.data(), c_.norm_eps,
                                s.qkv.data(), ld);
      if (tokens) {  // in float32 at every precision, and in place
        layer_norm_rows<F32>(s.x.data() + ld, ld, dim, from, to, norm_.gamma.data(), norm_.beta.data(), c_.norm_eps,
                             s.x.data() + ld, ld);
        for (int64_t r = from; r < to; ++r) std::copy_n(s.x.data() + (1 + r) * ld, dim, tokens + r * dim);
      }
      linear<AttnType, F32, ActFn::none>({s.qkv.data() + from * ld, ld, nullptr, nullptr}, to - from, proj_, 0,
                                         proj_.panels, s.projected.data() + from * ld_text, ld_text);
      for (int64_t r = from; r < to; ++r) {
        const float* row = s.projected.data() + r * ld_text;
        vf sum = vf{};
        for (int64_t i = 0; i < ld_text; i += PA3D_W) sum += load(row + i) * load(row + i);
        float total = reduce_add(sum);
        const float inverse = 1.0f / std::max(std::sqrt(total), 1e-12f);
        for (int64_t i = 0; i < c_.text_dim; ++i) features[r * c_.text_dim + i] = row[i] * inverse;
      }
    });
    if (times) {
      const auto end = Clock::now();
      times->sample += seconds(start, sampled);
      times->embed += seconds(sampled, embedded);
      times->blocks += seconds(embedded, blocks_done);
      times->project += seconds(blocks_done, end);
    }
  }

 private:
  // Moves the weights of the blocks, which are nearly the whole model, into huge pages, in the order in which they are
  // read.
  void move_weights_to_huge_pages() {
    int64_t bytes = 0;
    for (const Block<T>& b : blocks_)
      bytes += b.qkv.data.bytes() + b.proj.data.bytes() + b.fc1.data.bytes() + b.fc2.data.bytes();
    char* end = weight_storage_.resize(bytes);
    for (Block<T>& b : blocks_)
      for (PackedWeight<T>* w : {&b.qkv, &b.proj, &b.fc1, &b.fc2}) end = w->data.move_to(end);
  }

  EncoderConfig c_;
  HugePageBuffer weight_storage_;  // declared before blocks_, whose weights lie in it, so it is destroyed after them
  PatchEmbed<T> embed_;
  PackedWeight<F32> pos1_, pos2_;
  Buffer<float> cls_token_, cls_pos_;
  std::vector<Block<T>> blocks_;
  LayerNorm norm_;
  PackedWeight<AttnType>
      proj_;  // never int8: its rounding error would go straight into the features, and the product is small
};

#if PA3D_HAS_INT8
static std::unique_ptr<Encoder> encoder_int8(const EncoderConfig& c, const WeightSource& weights) {
  return std::make_unique<EncoderOf<I8>>(c, weights);
}
#if PA3D_HAS_BF16
static std::unique_ptr<Encoder> encoder_bf16(const EncoderConfig& c, const WeightSource& weights) {
  return std::make_unique<EncoderOf<BF16>>(c, weights);
}
#endif
#else
static std::unique_ptr<Encoder> encoder_fp32(const EncoderConfig& c, const WeightSource& weights) {
  return std::make_unique<EncoderOf<F32>>(c, weights);
}
#endif

}  // namespace PA3D_NS
}  // namespace pa3d
