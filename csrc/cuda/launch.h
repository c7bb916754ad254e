// The only place where CUDA and its emulator differ: launches, dynamic shared memory, errors.
// g++ takes cuda_emulator.h from tests/cuda_emulator and runs the kernels on the CPU.
// Grids and blocks have one dimension, shared memory is dynamic.
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#else
#include "cuda_emulator.h"
#endif

namespace softraster {
namespace cuda {

// The most blocks of one launch; kernels loop over the grid where there is more to do.
inline int64_t max_blocks() {
#if defined(__CUDACC__)
  return INT32_MAX;
#else
  return cuda_emulator::max_blocks;
#endif
}

inline unsigned grid_size(int64_t blocks) {
  return static_cast<unsigned>(blocks < max_blocks() ? blocks : max_blocks());
}

// The error of the launches since the last call, which forgets it; 0 for none.
inline int last_error() {
#if defined(__CUDACC__)
  return static_cast<int>(cudaGetLastError());
#else
  return cuda_emulator::take_error();
#endif
}

// Makes a device current. The runtime is linked statically and does not share this with torch's.
inline int use_device(int device) {
#if defined(__CUDACC__)
  return static_cast<int>(cudaSetDevice(device));
#else
  static_cast<void>(device);
  return 0;
#endif
}

inline const char* describe(int error) {
#if defined(__CUDACC__)
  return cudaGetErrorString(static_cast<cudaError_t>(error));
#else
  return cuda_emulator::describe(error);
#endif
}

// Sets memory to zero bytes in the stream's order; returns an error as last_error does.
inline int clear(void* memory, size_t bytes, void* stream) {
  if (bytes == 0) return 0;
#if defined(__CUDACC__)
  return static_cast<int>(cudaMemsetAsync(memory, 0, bytes, static_cast<cudaStream_t>(stream)));
#else
  static_cast<void>(stream);
  memset(memory, 0, bytes);
  return 0;
#endif
}

}  // namespace cuda
}  // namespace softraster

// SOFTRASTER_LAUNCH(kernel, blocks, threads, shared_bytes, stream, arguments...), a statement.
// A kernel with a comma in its template arguments goes in parentheses: (draw<float, 3>).
// SOFTRASTER_DYNAMIC_SHARED(Type, name) declares Type* name, 16-byte aligned, in a kernel. All
// kernels share one array of bytes, since an extern array can have only one type.
#if defined(__CUDACC__)
#define SOFTRASTER_LAUNCH(kernel, blocks, threads, shared_bytes, stream, ...)         \
  do {                                                                                \
    auto* const softraster_kernel = kernel;                                           \
    softraster_kernel<<<::softraster::cuda::grid_size(blocks), threads, shared_bytes, \
                        static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__);            \
  } while (0)
#define SOFTRASTER_DYNAMIC_SHARED(Type, name)                              \
  extern __shared__ __align__(16) unsigned char softraster_shared_bytes[]; \
  Type* const name = reinterpret_cast<Type*>(softraster_shared_bytes)
#else
#define SOFTRASTER_LAUNCH(kernel, blocks, threads, shared_bytes, stream, ...)                     \
  do {                                                                                            \
    static_cast<void>(stream);                                                                    \
    ::cuda_emulator::launch(kernel, ::softraster::cuda::grid_size(blocks), threads, shared_bytes, \
                            __VA_ARGS__);                                                         \
  } while (0)
#define SOFTRASTER_DYNAMIC_SHARED(Type, name) \
  Type* const name = reinterpret_cast<Type*>(::cuda_emulator::shared_memory())
#endif
