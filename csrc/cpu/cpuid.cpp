#include "cpuid.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace pa3d {
namespace {

// Below, an index is that of a name here, and the value of the Isa.
constexpr const char* kNames[] = {"generic", "avx2", "avx512", "avx512_bf16"};

Isa detect() {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (!avx2) return Isa::generic;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (!avx512) return Isa::avx2;
  const bool bf16_and_vnni = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
  return bf16_and_vnni ? Isa::avx512_bf16 : Isa::avx512;
#else
  return Isa::generic;
#endif
}

int parse(const char* name) {
  for (int i = 0; i < 4; ++i)
    if (std::strcmp(name, kNames[i]) == 0) return i;
  return -1;
}

const char* g_rejected = nullptr;

int initial_index() {
  const int best = static_cast<int>(best_isa());
  const char* wanted = std::getenv("PA3D_ISA");
  if (wanted == nullptr || *wanted == '\0') return best;
  const int index = parse(wanted);
  if (index >= 0 && index <= best) return index;
  g_rejected = wanted;
  return best;
}

std::atomic<int>& current_index() {
  static std::atomic<int> index{initial_index()};
  return index;
}

}  // namespace

Isa best_isa() {
  static const Isa best = detect();
  return best;
}

Isa isa() { return static_cast<Isa>(current_index().load(std::memory_order_relaxed)); }

bool set_isa(const char* name) {
  const int index = parse(name);
  if (index < 0 || index > static_cast<int>(best_isa())) return false;
  current_index().store(index, std::memory_order_relaxed);
  return true;
}

const char* isa_name(Isa isa) { return kNames[static_cast<int>(isa)]; }

const char* rejected_isa() {
  isa();
  return g_rejected;
}

}  // namespace pa3d
