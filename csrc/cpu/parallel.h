// Threads and vector widths: torch's own pool through its stable C function, and one binary that
// picks its instruction set when it is loaded.
#pragma once
#include <cstdint>
#include <cstdlib>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

extern "C" int32_t torch_parallel_for(int64_t begin, int64_t end, int64_t grain,
                                      void (*body)(int64_t, int64_t, void*), void* context);
extern "C" int32_t torch_get_num_threads(uint32_t* threads);

// The function and all that is inlined into it, once for each instruction set. A build that is not
// about speed defines this as nothing.
#if defined(SOFTRASTER_VECTOR_CLONES)
#elif defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
#define SOFTRASTER_VECTOR_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SOFTRASTER_VECTOR_CLONES
#endif

// Only what is inlined into a clone is compiled for its instruction set.
#define SOFTRASTER_INLINE inline __attribute__((always_inline))
#define SOFTRASTER_INLINE_LAMBDA __attribute__((always_inline))

namespace softraster {
namespace cpu {

inline int64_t num_threads() {
  uint32_t threads = 1;
  return torch_get_num_threads(&threads) == 0 && threads > 0 ? threads : 1;
}

// While it lives, numbers too small to be normal become 0 in this thread. Tails multiplied by tails
// are such numbers: nothing to a sum, but slow (a tenth of the backward passes, LIMITS.md).
class FlushDenormals {
#if defined(__SSE__)
 public:
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | _MM_FLUSH_ZERO_ON); }
  ~FlushDenormals() { _mm_setcsr(before_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  unsigned before_;
#endif
};

// body(begin, end) over [0, count), in parts of at least `grain`. An exception cannot cross torch's
// C boundary, so bodies must not throw.
template <class Body>
void parallel_for(int64_t count, int64_t grain, const Body& body) {
  if (count <= grain) {  // entering the pool costs more than small work
    if (count <= 0) return;
    [[maybe_unused]] const FlushDenormals flush;
    return body(int64_t{0}, count);
  }
  const int32_t error = torch_parallel_for(
      0, count, grain,
      [](int64_t begin, int64_t end, void* context) {
        [[maybe_unused]] const FlushDenormals flush;
        (*static_cast<const Body*>(context))(begin, end);
      },
      const_cast<Body*>(&body));
  if (error != 0) std::abort();  // bodies do not throw: nothing else can fail here
}

}  // namespace cpu
}  // namespace softraster
