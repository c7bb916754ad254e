// What of CUDA the kernels of csrc/cuda use, for g++: they run on the CPU, block after block, with
// a fiber for each thread (cuda_emulator.cpp). Stricter than a GPU: every thread must reach every
// barrier, and warp functions take whole warps. Shared memory starts as NaN and has its exact size.
// Not covered: races inside a warp, the order of writes to memory, what a launch can hold, speed.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>  // before __noinline__ becomes a macro, for it uses that name
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)

namespace cuda_emulator {

// Grids and blocks have one dimension.
struct Index {
  unsigned x;
};

}  // namespace cuda_emulator

extern cuda_emulator::Index threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_emulator {

constexpr unsigned kWarp = 32;
constexpr unsigned kWholeWarp = 0xffffffff;

// What a kernel did that a GPU leaves undefined or never ends.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Tests set these. Threads of a block, and blocks of a grid, run in ascending order for 0, in
// descending order for 1, and strided for larger numbers.
extern unsigned order;
extern int64_t max_blocks;

// Error codes, as cudaGetLastError and cudaGetErrorString give them.
int take_error();
const char* describe(int error);

unsigned char* shared_memory();

// Runs body(data) in every thread; throws Fault. A launch that a GPU refuses sets the error.
void run_grid(unsigned blocks, unsigned threads, size_t shared_bytes, void (*body)(void*),
              void* data);

// Waits in `function` for all threads of the block; returns for how many of them the predicate is
// true.
int meet_block(const char* function, bool predicate);

// Waits in `function` for all threads of the warp; returns what each passed, by lane.
const uint64_t* meet_warp(const char* function, unsigned mask, uint64_t value);

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), unsigned blocks, unsigned threads, size_t shared_bytes,
            Arguments&&... arguments) {
  static_assert((std::is_trivially_copyable_v<Parameters> && ...), "kernels take plain values");
  const std::tuple<Parameters...> values(std::forward<Arguments>(arguments)...);
  auto body = [&] { std::apply(kernel, values); };
  run_grid(
      blocks, threads, shared_bytes, [](void* data) { (*static_cast<decltype(body)*>(data))(); },
      &body);
}

template <class T>
T shuffle(const char* function, unsigned mask, T value, unsigned source) {
  static_assert(sizeof(T) <= sizeof(uint64_t) && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  const uint64_t* lanes = meet_warp(function, mask, bits);
  if (source < kWarp) std::memcpy(&value, &lanes[source], sizeof value);
  return value;
}

template <class T, class Combine>
T update(T* address, const Combine& combine) {
  const T old = *address;
  *address = combine(old);
  return old;
}

}  // namespace cuda_emulator

inline void __syncthreads() { cuda_emulator::meet_block(__func__, false); }
inline int __syncthreads_or(int predicate) {
  return cuda_emulator::meet_block(__func__, predicate != 0) > 0;
}
inline int __syncthreads_and(int predicate) {
  return cuda_emulator::meet_block(__func__, predicate == 0) == 0;
}
inline int __syncthreads_count(int predicate) {
  return cuda_emulator::meet_block(__func__, predicate != 0);
}
inline void __syncwarp(unsigned mask = cuda_emulator::kWholeWarp) {
  cuda_emulator::meet_warp(__func__, mask, 0);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source) {
  return cuda_emulator::shuffle(__func__, mask, value, unsigned(source) % cuda_emulator::kWarp);
}
// A source outside the warp leaves the value as it is.
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta) {
  return cuda_emulator::shuffle(__func__, mask, value, threadIdx.x % cuda_emulator::kWarp - delta);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta) {
  return cuda_emulator::shuffle(__func__, mask, value, threadIdx.x % cuda_emulator::kWarp + delta);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask) {
  return cuda_emulator::shuffle(__func__, mask, value,
                                threadIdx.x % cuda_emulator::kWarp ^ unsigned(lane_mask));
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const uint64_t* lanes = cuda_emulator::meet_warp(__func__, mask, predicate != 0);
  unsigned votes = 0;
  for (unsigned lane = 0; lane < cuda_emulator::kWarp; ++lane) {
    votes |= unsigned(lanes[lane]) << lane;
  }
  return votes;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) == cuda_emulator::kWholeWarp;
}

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }

template <class T>
T __ldg(const T* address) {
  return *address;
}

// One thread runs at a time, until it waits. The address alone says what T is.
template <class T>
T atomicAdd(T* address, std::common_type_t<T> value) {
  return cuda_emulator::update(address, [=](T old) { return old + value; });
}
template <class T>
T atomicMax(T* address, std::common_type_t<T> value) {
  return cuda_emulator::update(address, [=](T old) { return old < value ? value : old; });
}
template <class T>
T atomicOr(T* address, std::common_type_t<T> value) {
  return cuda_emulator::update(address, [=](T old) { return old | value; });
}
