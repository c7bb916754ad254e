// Segments made ready once for all tiles: their derived numbers, the pixels that they reach, and
// those that groups of 32 segments reach, by which tiles skip what is elsewhere.
#pragma once
#include <climits>

#include "../draw_segments.h"
#include "../range.h"
#include "launch.h"

namespace softraster {
namespace cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kMaxChannels = 4;  // that a thread takes at once

// Hands out parts of a workspace; without memory it only counts the bytes.
class Arena {
 public:
  explicit Arena(void* memory) : memory_(static_cast<char*>(memory)) {}

  template <class N>
  N* take(int64_t count) {
    N* taken = memory_ ? reinterpret_cast<N*>(memory_ + used_) : nullptr;
    used_ += (count * static_cast<int64_t>(sizeof(N)) + 15) / 16 * 16;
    return taken;
  }
  int64_t used() const { return used_; }

 private:
  char* memory_;
  int64_t used_ = 0;
};

// Pixels [left, right) x [top, bottom); right <= left for none.
struct alignas(16) Bounds {
  int32_t left, top, right, bottom;

  // Without branches, so that the four numbers come in one load.
  SOFTRASTER_HOST_DEVICE bool meets(const Bounds& other) const {
    return (left < other.right) & (other.left < right) & (top < other.bottom) &
           (other.top < bottom);
  }
};

// The kind of a segment in a kernel for one coverage, which has no code for kinds of the other.
template <Coverage kCoverage, class T>
SOFTRASTER_HOST_DEVICE Kind kind_of(const Segment<T>& s) {
  if (kCoverage == Coverage::kCapsule) return Kind::kCapsule;
  if (s.kind == Kind::kCapsule) __builtin_unreachable();
  return s.kind;
}

// Color of segment `at`; 1 without colors, 0 beyond the last channel.
template <class T>
SOFTRASTER_HOST_DEVICE T color_at(const DrawSegmentsParams<T>& p, int64_t at, int64_t channel) {
  if (!p.color) return T(1);
  return channel < p.channels ? p.color[at * p.channels + channel] : T(0);
}

template <class T>
struct Prepared {
  int64_t groups;        // of a canvas
  Segment<T>* segments;  // (batch, count)
  Bounds* bounds;        // (batch, count)
  Bounds* group_bounds;  // (batch, groups)
  int32_t* broken;       // (batch,): not 0 where a segment is invalid, so that all becomes NaN

  Prepared(const DrawSegmentsParams<T>& p, Arena& arena)
      : groups((p.count + kWarp - 1) / kWarp),
        segments(arena.take<Segment<T>>(p.batch * p.count)),
        bounds(arena.take<Bounds>(p.batch * p.count)),
        group_bounds(arena.take<Bounds>(p.batch * groups)),
        broken(arena.take<int32_t>(p.batch)) {}
};

SOFTRASTER_HOST_DEVICE Bounds no_pixels() { return {INT_MAX, INT_MAX, INT_MIN, INT_MIN}; }

template <class T>
SOFTRASTER_HOST_DEVICE Bounds bounds_of(const Segment<T>& s, const DrawSegmentsParams<T>& p) {
  const Range columns = column_support(s, {0, p.columns}), rows = row_support(s, {0, p.rows});
  if (columns.empty() || rows.empty()) return no_pixels();
  return {int32_t(columns.begin), int32_t(rows.begin), int32_t(columns.end), int32_t(rows.end)};
}

// One warp per group, a lane is a segment. with_absent: keep segments of intensity 0.
template <class T>
__global__ void prepare_segments(DrawSegmentsParams<T> p, Prepared<T> out, bool with_absent) {
  const int lane = threadIdx.x % kWarp;
  const int64_t warp = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / kWarp;
  const int64_t warps = int64_t(gridDim.x) * kWarps;
  for (int64_t group = warp; group < p.batch * out.groups; group += warps) {
    const int64_t item = group / out.groups;
    const int64_t n = group % out.groups * kWarp + lane;
    Bounds bounds = no_pixels();
    if (n < p.count) {
      const int64_t at = item * p.count + n;
      Segment<T> s = segment_at(p, at);
      const T intensity = intensity_at(p, at);
      if (!s.valid || !(0 * intensity == 0)) {
        out.broken[item] = 1;
      } else if (with_absent || intensity != 0) {
        shape_boxes(s);
        bounds = bounds_of(s, p);
      }
      out.segments[at] = s;
      out.bounds[at] = bounds;
    }
    for (int step = kWarp / 2; step > 0; step /= 2) {
      const int32_t left = __shfl_xor_sync(kAllLanes, bounds.left, step);
      const int32_t top = __shfl_xor_sync(kAllLanes, bounds.top, step);
      const int32_t right = __shfl_xor_sync(kAllLanes, bounds.right, step);
      const int32_t bottom = __shfl_xor_sync(kAllLanes, bounds.bottom, step);
      bounds.left = left < bounds.left ? left : bounds.left;
      bounds.top = top < bounds.top ? top : bounds.top;
      bounds.right = right > bounds.right ? right : bounds.right;
      bounds.bottom = bottom > bounds.bottom ? bottom : bounds.bottom;
    }
    if (lane == 0) out.group_bounds[group] = bounds;
  }
}

inline int64_t blocks_for(int64_t count, int64_t per_block) {
  return (count + per_block - 1) / per_block;
}

template <class T>
int prepare(const DrawSegmentsParams<T>& p, const Prepared<T>& out, bool with_absent,
            void* stream) {
  if (const int error = clear(out.broken, p.batch * sizeof(int32_t), stream)) return error;
  const int64_t groups = p.batch * out.groups;
  if (groups == 0) return 0;
  SOFTRASTER_LAUNCH(prepare_segments<T>, blocks_for(groups, kWarps), kThreads, 0, stream, p, out,
                    with_absent);
  return last_error();
}

}  // namespace cuda
}  // namespace softraster
