// The scheduler behind cuda_host.h: the threads of a launch as fibers on one CPU thread, with barriers, warp operations
// and shared memory.
#pragma once

#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define CUDA_HOST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CUDA_HOST_ASAN 1
#endif
#endif
#ifdef CUDA_HOST_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct CUstream_st;
using cudaStream_t = CUstream_st*;
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorLaunchFailure = 719,
};

namespace cuda_host {

constexpr unsigned kMaxThreads = 1024;
constexpr size_t kMaxShared = 48 << 10;  // bytes that a launch may use by default
#ifdef CUDA_HOST_ASAN
constexpr size_t kStackBytes = 256 << 10;
#else
constexpr size_t kStackBytes = 64 << 10;
#endif

enum class Op { kNone, kBarrier, kSyncwarp, kBallot, kMatch, kShuffle, kMax, kMin, kAdd };

inline const char* name_of(Op op) {
  constexpr const char* names[] = {"",
                                   "__syncthreads",
                                   "__syncwarp",
                                   "__ballot_sync",
                                   "__match_any_sync",
                                   "__shfl_sync",
                                   "__reduce_max_sync",
                                   "__reduce_min_sync",
                                   "__reduce_add_sync"};
  return names[static_cast<int>(op)];
}

struct Block;

struct Fiber {
  ucontext_t context;
  char* stack = nullptr;
  Block* block = nullptr;
  dim3 thread;
  unsigned rank = 0;  // in the block
  bool done = false;
  // The operation that it waits in, and its arguments.
  Op op = Op::kNone;
  int line = 0;
  unsigned mask = 0;
  uint64_t value = 0, result = 0;
  int source = 0;  // the lane a shuffle reads
#ifdef CUDA_HOST_ASAN
  void* fake_stack = nullptr;
#endif
};

struct Block {
  dim3 index;
  unsigned live = 0, at_barrier = 0;
  std::vector<Fiber*> fibers;
  struct Piece {
    const void* key;
    void* memory;
  };
  std::vector<Piece> shared;  // one allocation per shared object, so that sanitizers detect accesses past its end
  void* dynamic_shared = nullptr;
  size_t shared_bytes = 0;

  Block() = default;
  Block(const Block&) = delete;
  ~Block() {
    for (const Piece& piece : shared) std::free(piece.memory);
    std::free(dynamic_shared);
  }
};

class Machine {
 public:
  Machine() = default;
  Machine(const Machine&) = delete;
  ~Machine() {
    for (const auto& fiber : pool_)
      if (fiber->stack != nullptr) munmap(fiber->stack, kStackBytes + kGuardBytes);
  }

  void seed(uint64_t value) { random_ = value * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du; }
  const char* message() const { return message_.c_str(); }
  Fiber& self() { return *current_; }
  dim3 grid() const { return grid_; }
  dim3 block() const { return block_; }

  cudaError_t run(dim3 grid, dim3 block, size_t dynamic_bytes, std::function<void()> kernel) {
    const uint64_t threads = uint64_t{block.x} * block.y * block.z, blocks = uint64_t{grid.x} * grid.y * grid.z;
    if (threads < 1 || threads > kMaxThreads || blocks < 1 || dynamic_bytes > kMaxShared || grid.x > 0x7fffffffu ||
        grid.y > 65535 || grid.z > 65535 || block.z > 64) {
      message_ = "a launch of " + std::to_string(blocks) + " blocks of " + std::to_string(threads) + " threads with " +
                 std::to_string(dynamic_bytes) + " bytes of dynamic shared memory";
      return cudaErrorInvalidConfiguration;
    }
    grid_ = grid;
    block_ = block;
    dynamic_bytes_ = dynamic_bytes;
    kernel_ = std::move(kernel);
    message_.clear();
    failed_ = false;
    sleeps_ = 0;
    std::vector<uint32_t> order(blocks);
    for (uint64_t i = 0; i < blocks; ++i) order[i] = static_cast<uint32_t>(i);
    for (uint64_t i = blocks; i > 1; --i) std::swap(order[i - 1], order[random_below(i)]);

    const size_t resident = threads <= 256 ? 1 + random_below(4) : 1 + random_below(2);
    size_t next = 0;
    while (!failed_) {
      while (running_.size() < resident && next < order.size()) start(order[next++], threads);
      if (running_.empty()) break;
      if (ready_.empty()) {
        fail("deadlock: " + describe());
        break;
      }
      const size_t pick = random_below(ready_.size());
      Fiber* const fiber = ready_[pick];
      ready_[pick] = ready_.back();
      ready_.pop_back();
      resume(fiber);
      if (fiber->done) retire(fiber);
    }
    ready_.clear();
    running_.clear();
    kernel_ = nullptr;
    return failed_ ? cudaErrorLaunchFailure : cudaSuccess;
  }

  // Waits until all threads of the block that have not finished are here.
  void barrier(int line) {
    Fiber& me = self();
    Block& block = *me.block;
    me.op = Op::kBarrier;
    me.line = line;
    ++block.at_barrier;
    sleeps_ = 0;
    open_barrier(block);
    switch_to_scheduler();
  }

  // A warp operation: waits for the lanes of the mask, and returns this lane's result.
  uint64_t warp_operation(Op op, unsigned mask, uint64_t value, int source, int line) {
    Fiber& me = self();
    me.op = op;
    me.line = line;
    me.mask = mask;
    me.value = value;
    me.source = source;
    sleeps_ = 0;
    const unsigned lane = me.rank % 32, first = me.rank - lane;
    Fiber* lanes[32] = {};
    bool all = true;
    if ((mask >> lane & 1) == 0) fail(std::string(name_of(op)) + where(line) + ": a lane is not in its own mask");
    for (unsigned i = 0; i < 32; ++i) {
      if ((mask >> i & 1) == 0) continue;
      Fiber* const other = first + i < me.block->fibers.size() ? me.block->fibers[first + i] : nullptr;
      if (other == nullptr || other->done)
        fail(std::string(name_of(op)) + where(line) + ": the mask names a lane that does not run");
      else if (other->op == Op::kNone || other->op == Op::kBarrier)
        all = false;
      else if (other->op != op || other->line != line || other->mask != mask)
        all = false;
      lanes[i] = other;
    }
    if (all && !failed_) {
      for (Fiber* const fiber : lanes)
        if (fiber != nullptr) fiber->result = combine(op, *fiber, lanes);
      for (Fiber* const fiber : lanes) {
        if (fiber == nullptr) continue;
        fiber->op = Op::kNone;
        ready_.push_back(fiber);
      }
    }
    switch_to_scheduler();
    return me.result;
  }

  void sleep() {
    if (++sleeps_ > kMaxSleeps) fail("threads sleep forever: " + describe());
    ready_.push_back(current_);
    switch_to_scheduler();
  }

  // Called at atomics, where threads of different warps and blocks influence each other without a barrier.
  void maybe_yield() {
    if (random_below(8) != 0) return;
    sleeps_ = 0;
    ready_.push_back(current_);
    switch_to_scheduler();
  }

  void* shared(const void* key, size_t bytes) {
    Block& block = *self().block;
    for (const Block::Piece& piece : block.shared)
      if (piece.key == key) return piece.memory;
    block.shared_bytes += bytes;
    if (block.shared_bytes + dynamic_bytes_ > kMaxShared) fail("more shared memory than a block has");
    block.shared.push_back({key, uninitialized(bytes)});
    return block.shared.back().memory;
  }

  void* dynamic_shared() {
    Block& block = *self().block;
    if (block.dynamic_shared == nullptr) block.dynamic_shared = uninitialized(dynamic_bytes_);
    return block.dynamic_shared;
  }

  uint64_t random_below(uint64_t n) {
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    return (random_ >> 11) % n;
  }

 private:
  static constexpr size_t kGuardBytes = 64 << 10;
  static constexpr uint64_t kMaxSleeps = 100000;

  void* uninitialized(size_t bytes) {
    void* const memory = std::aligned_alloc(16, (bytes + 15) / 16 * 16);
    if (memory == nullptr) std::abort();
    std::memset(memory, static_cast<int>(0x80 | random_below(128)), (bytes + 15) / 16 * 16);
#ifdef CUDA_HOST_ASAN
    ASAN_POISON_MEMORY_REGION(static_cast<char*>(memory) + bytes, (bytes + 15) / 16 * 16 - bytes);
#endif
    return memory;
  }

  static std::string where(int line) { return " (line " + std::to_string(line) + ")"; }

  // What the waiting threads of the first block wait for.
  std::string describe() const {
    for (const auto& block : running_) {
      std::vector<std::pair<std::string, int>> groups;
      for (const Fiber* const fiber : block->fibers) {
        const std::string text = fiber->done              ? "finished"
                                 : fiber->op == Op::kNone ? "running"
                                                          : name_of(fiber->op) + where(fiber->line);
        const auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == text; });
        if (group == groups.end())
          groups.emplace_back(text, 1);
        else
          ++group->second;
      }
      std::string text = "block (" + std::to_string(block->index.x) + ", " + std::to_string(block->index.y) + ", " +
                         std::to_string(block->index.z) + "):";
      for (const auto& [what, count] : groups) text += " " + std::to_string(count) + " " + what + ",";
      text.pop_back();
      return text;
    }
    return "no block";
  }

  void fail(const std::string& text) {
    if (!failed_) message_ = text;
    failed_ = true;
  }

  void open_barrier(Block& block) {
    if (block.live == 0 || block.at_barrier < block.live) return;
    int line = 0;
    for (Fiber* const fiber : block.fibers) {
      if (fiber->done) continue;
      if (line != 0 && fiber->line != line) {
        fail("threads of a block wait at different barriers: " + describe());
        return;
      }
      line = fiber->line;
    }
    for (Fiber* const fiber : block.fibers) {
      if (fiber->done) continue;
      fiber->op = Op::kNone;
      ready_.push_back(fiber);
    }
    block.at_barrier = 0;
  }

  uint64_t combine(Op op, const Fiber& me, Fiber* const* lanes) {
    uint64_t result = 0;
    bool first = true;
    switch (op) {
      case Op::kShuffle:
        // Reading a lane that does not take part gives an undefined value.
        return lanes[me.source] != nullptr ? lanes[me.source]->value : 0xa5a5a5a5a5a5a5a5u;
      case Op::kBallot:
      case Op::kMatch:
        for (int i = 0; i < 32; ++i) {
          if (lanes[i] == nullptr) continue;
          const bool counts = op == Op::kBallot ? lanes[i]->value != 0 : lanes[i]->value == me.value;
          if (counts) result |= uint64_t{1} << i;
        }
        return result;
      case Op::kMax:
      case Op::kMin:
      case Op::kAdd:
        for (int i = 0; i < 32; ++i) {
          if (lanes[i] == nullptr) continue;
          const uint64_t v = lanes[i]->value;
          result = first ? v : op == Op::kMax ? std::max(result, v) : op == Op::kMin ? std::min(result, v) : result + v;
          first = false;
        }
        return result;
      default:
        return 0;
    }
  }

  void start(uint32_t number, uint64_t threads) {
    running_.push_back(std::make_unique<Block>());
    Block& block = *running_.back();
    block.index = dim3(number % grid_.x, number / grid_.x % grid_.y, number / grid_.x / grid_.y);
    block.live = static_cast<unsigned>(threads);
    for (unsigned rank = 0; rank < threads; ++rank) {
      Fiber* const fiber = take_fiber();
      fiber->block = &block;
      fiber->rank = rank;
      fiber->thread = dim3(rank % block_.x, rank / block_.x % block_.y, rank / block_.x / block_.y);
      fiber->done = false;
      fiber->op = Op::kNone;
      getcontext(&fiber->context);
      fiber->context.uc_stack.ss_sp = fiber->stack + kGuardBytes;
      fiber->context.uc_stack.ss_size = kStackBytes;
      fiber->context.uc_link = nullptr;
      makecontext(&fiber->context, &Machine::enter, 0);
      block.fibers.push_back(fiber);
      ready_.push_back(fiber);
    }
  }

  Fiber* take_fiber() {
    for (; used_ < pool_.size(); ++used_) {
      Fiber* const fiber = pool_[used_].get();
      if (fiber->block == nullptr) return pool_[used_++].get();
    }
    for (size_t i = 0; i < pool_.size(); ++i) {
      if (pool_[i]->block != nullptr) continue;
      used_ = i + 1;
      return pool_[i].get();
    }
    auto fiber = std::make_unique<Fiber>();
    // The lowest pages are inaccessible: a kernel that needs more stack faults instead of writing into another one.
    void* const memory = mmap(nullptr, kStackBytes + kGuardBytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    mprotect(memory, kGuardBytes, PROT_NONE);
    fiber->stack = static_cast<char*>(memory);
    pool_.push_back(std::move(fiber));
    used_ = pool_.size();
    return pool_.back().get();
  }

  void retire(Fiber* fiber) {
    Block& block = *fiber->block;
    sleeps_ = 0;
    if (--block.live > 0) {
      open_barrier(block);
      return;
    }
    for (Fiber* const each : block.fibers) each->block = nullptr;
    used_ = 0;
    running_.erase(std::find_if(running_.begin(), running_.end(), [&](const auto& b) { return b.get() == &block; }));
  }

  static void enter();

  void resume(Fiber* fiber) {
    current_ = fiber;
#ifdef CUDA_HOST_ASAN
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, fiber->stack + kGuardBytes, kStackBytes);
#endif
    swapcontext(&main_, &fiber->context);
#ifdef CUDA_HOST_ASAN
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
  }

  // Switches back to run(). Returns when this fiber is picked again, or never if the launch has failed.
  void switch_to_scheduler() {
    Fiber* const fiber = current_;
#ifdef CUDA_HOST_ASAN
    __sanitizer_start_switch_fiber(fiber->done ? nullptr : &fiber->fake_stack, main_stack_, main_stack_bytes_);
#endif
    swapcontext(&fiber->context, &main_);
#ifdef CUDA_HOST_ASAN
    __sanitizer_finish_switch_fiber(fiber->fake_stack, nullptr, nullptr);
#endif
  }

  dim3 grid_, block_;
  size_t dynamic_bytes_ = 0;
  std::function<void()> kernel_;
  std::vector<std::unique_ptr<Fiber>> pool_;
  size_t used_ = 0;  // index in pool_ at which the search for a free fiber starts
  std::vector<std::unique_ptr<Block>> running_;
  std::vector<Fiber*> ready_;
  Fiber* current_ = nullptr;
  ucontext_t main_;
  uint64_t random_ = 0x2545f4914f6cdd1du, sleeps_ = 0;
  std::string message_;
  bool failed_ = false;
#ifdef CUDA_HOST_ASAN
  const void* main_stack_ = nullptr;
  size_t main_stack_bytes_ = 0;
#endif
};

inline Machine& machine() {
  static Machine* const one = new Machine;
  return *one;
}

inline void Machine::enter() {
  Machine& m = machine();
#ifdef CUDA_HOST_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &m.main_stack_, &m.main_stack_bytes_);
#endif
  m.kernel_();
  m.current_->done = true;
  m.switch_to_scheduler();
}

template <class T>
uint64_t to_bits(T value) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}
template <class T>
T from_bits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <class T>
T shuffle(unsigned mask, T value, int source, int line) {
  return from_bits<T>(machine().warp_operation(Op::kShuffle, mask, to_bits(value), source, line));
}

// The lane that __shfl_up_sync reads. Lanes below delta keep their own value.
inline int lane_below(int delta) {
  const int lane = static_cast<int>(machine().self().rank % 32);
  return lane >= delta ? lane - delta : lane;
}

inline unsigned warp(Op op, unsigned mask, uint64_t value, int line) {
  return static_cast<unsigned>(machine().warp_operation(op, mask, value, 0, line));
}

// Signed numbers keep their order as unsigned numbers if their sign bit is inverted.
inline int signed_max(unsigned mask, int value, int line) {
  return static_cast<int>(warp(Op::kMax, mask, static_cast<uint32_t>(value) ^ 0x80000000u, line) ^ 0x80000000u);
}

}  // namespace cuda_host
