// Backward of kOver on CUDA: one block per tile, which walks its segments twice.
//
// With out_n = out_{n-1} + a_n (color_n - out_{n-1}), a gradient needs how much light passes the
// segments above, and what lay below. The first walk goes from the top down and multiplies the
// light, until next to none is left: no gradient goes below that. The second walk paints from the
// bottom up, so that it knows what lies below, and takes the light back out factor by factor. It
// only divides by factors that the first walk has multiplied, the same bits since what makes them
// is compiled once for both, and never by one that ended it. A tile's share of a segment's sums
// goes into fixed-point sums, whose order does not matter.
#include "fixed_point.h"
#include "passes.h"
#include "pixel_sums.h"
#include "tile.h"

namespace softraster {
namespace cuda {
namespace {

// Less light than this counts as none.
template <class T>
SOFTRASTER_HOST_DEVICE T darkness() {
  return sizeof(T) == 4 ? T(1e-12) : T(1e-30);
}

struct FixedGrads {
  int64_t numbers;       // kSums + channels
  FixedSum* segments;    // (batch * count, numbers)
  FixedSum* background;  // (batch, channels)
  Word* peaks;           // (batch,): bits of the largest |grad_canvas|
  int32_t* lost;         // (batch,): not 0 where a sum was not finite
  int64_t bytes;         // of all the above, which lie side by side

  template <class T>
  FixedGrads(const DrawSegmentsParams<T>& p, Arena& arena) : numbers(kSums + p.channels) {
    const int64_t before = arena.used();
    segments = arena.take<FixedSum>(p.batch * p.count * numbers);
    background = arena.take<FixedSum>(p.batch * p.channels);
    peaks = arena.take<Word>(p.batch);
    lost = arena.take<int32_t>(p.batch);
    bytes = arena.used() - before;
  }
};

constexpr int64_t kPeakNumbers = 16 * kThreads;  // of a canvas, for one block

// One block per kPeakNumbers numbers of grad_canvas of one item.
template <class T>
__global__ void find_peaks(int64_t batch, int64_t size, const T* grad_canvas, Word* peaks) {
  const int64_t parts = (size + kPeakNumbers - 1) / kPeakNumbers;
  for (int64_t block = blockIdx.x; block < batch * parts; block += gridDim.x) {
    const int64_t item = block / parts, begin = block % parts * kPeakNumbers;
    const int64_t end = begin + kPeakNumbers < size ? begin + kPeakNumbers : size;
    Word peak = 0;
    for (int64_t at = begin + threadIdx.x; at < end; at += kThreads) {
      const Word bits = magnitude_bits(grad_canvas[item * size + at]);
      peak = bits > peak ? bits : peak;
    }
    for (int step = kWarp / 2; step > 0; step /= 2) {
      const Word other = __shfl_xor_sync(kAllLanes, peak, step);
      peak = other > peak ? other : peak;
    }
    if (threadIdx.x % kWarp == 0) atomicMax(&peaks[item], peak);
  }
}

template <class T>
struct Covered {
  CoverageGrad<T> pixel;
  T opacity, factor;  // coverage * intensity, and 1 minus that
};

// What this thread's pixel gets of staged segment i. Like stage_part, never inlined: both walks get
// the same bits, whatever surrounds the call.
template <Coverage kCoverage, class T, int kChannels>
__device__ __noinline__ Covered<T> cover_exactly(const Stage<T, true, kChannels>& stage, int i,
                                                 Pixel own) {
  const bool boxed = kCoverage == Coverage::kGrid;
  Covered<T> covered;
  covered.pixel = cover_staged<kCoverage>(stage.segments[i], stage.places[i], own,
                                          boxed ? stage.box_x[i][own.column].value : T(0),
                                          boxed ? stage.box_y[i][own.row].value : T(0));
  covered.opacity = stage.intensity[i] * covered.pixel.coverage;
  covered.factor = T(1) - covered.opacity;
  return covered;
}

// Brings listed segments into shared memory; returns those that reach the warp's part of the tile.
template <Coverage kCoverage, class T, int kChannels>
__device__ __noinline__ unsigned stage_part(const DrawSegmentsParams<T>& p,
                                            const Prepared<T>& prepared, const Tile& tile,
                                            const int32_t* list, int count,
                                            Stage<T, true, kChannels>& stage) {
  fill_stage<kCoverage>(p, prepared, tile, list, count, stage);
  return segments_in_part<kCoverage>(tile, count, stage);
}

// How a pixel is lit. After the first walk: light passes all above `bottom`, where the light ends;
// bottom is -1 where some of it comes through to the background, and beyond all segments where
// nothing has a gradient.
template <class T>
struct Light {
  T light = 1;
  int32_t bottom = -1;
};

// By how many bits one of a segment's sums is shortened to fit terms of FixedSum: 0 but for
// segments that are steeper, or farther from their pixels, than drawings are.
template <class T>
SOFTRASTER_HOST_DEVICE int excess_bits(const DrawSegmentsParams<T>& p, const Segment<T>& s,
                                       int place) {
  const int arm = bits_before_point(fabs(s.mid_x) + fabs(s.mid_y) + double(p.rows + p.columns));
  const int steep = bits_before_point(1 + s.softness);
  // By softness: a distance, but far from an edge, in units of 1 / softness, the coverage is less.
  const int near = 5 - bits_before_point(s.softness);
  int bits = place == kInk ? 0 : steep;
  if (place == kArm) bits += arm;
  if (place == kBySoftness) bits = near < arm ? near : arm;
  bits -= kTermBits;
  return bits < 0 ? 0 : (bits > 900 ? 900 : bits);
}

// A tile in the course of its two walks.
template <Coverage kCoverage, int kChannels, class T>
struct OverTile {
  using Memory = Stage<T, true, kChannels>;
  const DrawSegmentsParams<T>& p;
  const Prepared<T>& prepared;
  const FixedGrads& fixed;
  const Tile& tile;
  Memory& stage;
  Pixel own;
  double units;       // per one
  T grad[kChannels];  // of the canvas at this pixel
  T ground[kChannels];

  __device__ void load(const T* grad_canvas) {
    const int64_t column = tile.bounds.left + own.column, row = tile.bounds.top + own.row;
    const bool inside = column < p.columns && row < p.rows;
    for (int c = 0; c < kChannels; ++c) {
      const int64_t plane = tile.item * p.channels + tile.first_channel + c;
      const bool drawn = inside && tile.first_channel + c < p.channels;
      grad[c] = drawn ? grad_canvas[plane * p.pixels() + row * p.columns + column] : T(0);
      ground[c] = drawn && p.background ? p.background[plane] : T(0);
    }
  }

  __device__ Light<T> walk_down() {
    Light<T> lit;
    bool dark = true;
    for (int c = 0; c < kChannels; ++c) dark = dark && grad[c] == 0;
    if (dark) lit.bottom = INT_MAX;
    Walk walk;
    for (;;) {
      const int listed = next_segments<true>(p, prepared, tile, walk, stage);
      for (int first = 0; first < listed; first += kStage) {
        const int count = listed - first < kStage ? listed - first : kStage;
        unsigned left = stage_part<kCoverage>(p, prepared, tile, stage.list + first, count, stage);
        for (; left; left &= left - 1) {
          const int i = __ffs(int(left)) - 1;
          if (dark) continue;
          const T factor = cover_exactly<kCoverage>(stage, i, own).factor;
          dark = !(fabs(lit.light * factor) >= darkness<T>());
          if (dark) {
            lit.bottom = stage.index[i];
          } else {
            lit.light *= factor;
          }
        }
        if (__syncthreads_and(dark)) return lit;
      }
      if (listed == 0) return lit;
    }
  }

  __device__ void walk_up(Light<T> lit) {
    T canvas[kChannels];
    for (int c = 0; c < kChannels; ++c) canvas[c] = ground[c];
    Walk walk;
    for (;;) {
      const int listed = next_segments<false>(p, prepared, tile, walk, stage);
      if (listed == 0) return;
      for (int first = 0; first < listed; first += kStage) {
        const int count = listed - first < kStage ? listed - first : kStage;
        unsigned left = stage_part<kCoverage>(p, prepared, tile, stage.list + first, count, stage);
        for (; left; left &= left - 1) take_apart(__ffs(int(left)) - 1, lit, canvas);
      }
    }
  }

  // One segment: its gradient in the warp's pixels, then its paint on them.
  __device__ void take_apart(int i, Light<T>& lit, T* canvas) {
    const Segment<T>& s = stage.segments[i];
    const Covered<T> covered = cover_exactly<kCoverage>(stage, i, own);
    const CoverageGrad<T>& pixel = covered.pixel;
    if (stage.index[i] > lit.bottom) lit.light /= covered.factor;
    const bool lighted = stage.index[i] >= lit.bottom;
    T sums[kSums + kChannels] = {};
    T by_coverage = 0;
    for (int c = 0; c < kChannels; ++c) {
      const T weight = lighted ? grad[c] * lit.light : T(0);
      by_coverage += weight * (stage.color[i][c] - canvas[c]);
      sums[kSums + c] = weight * pixel.coverage;
      canvas[c] = over(canvas[c], covered.opacity, stage.color[i][c]);
    }
    PixelBoxes<T> boxes;
    if (kCoverage == Coverage::kGrid) {
      boxes = {stage.box_x[i][own.column], stage.box_y[i][own.row],
               T(tile.bounds.left + own.column + 0.5 - s.mid_x),
               T(tile.bounds.top + own.row + 0.5 - s.mid_y)};
    }
    if (!__any_sync(kAllLanes, lighted)) return;
    add_pixel<kCoverage>(s, pixel, by_coverage * pixel.coverage, boxes, sums);
    T own_sum = 0;  // each sum is a lane's
    for (int n = 0; n < kSums + kChannels; ++n) {
      const T sum = warp_sum(sums[n]);
      own_sum = int(threadIdx.x % kWarp) == n ? sum : own_sum;
    }
    add_to_fixed(stage.index[i], s, own_sum);
  }

  // The warp's share of a segment's sums.
  __device__ void add_to_fixed(int32_t index, const Segment<T>& s, double own_sum) {
    const int lane = threadIdx.x % kWarp;
    const int64_t channel = tile.first_channel + lane - kSums;
    const bool wanted =
        lane < kSums || (p.color && lane < kSums + kChannels && channel < p.channels);
    if (!wanted || own_sum == 0) return;
    if (lane < kSums) own_sum *= power_of_two(-excess_bits(p, s, lane));
    const int64_t place = lane < kSums ? lane : kSums + channel;
    const int64_t at = (tile.item * p.count + index) * fixed.numbers + place;
    if (!add_units(&fixed.segments[at], own_sum * units)) fixed.lost[tile.item] = 1;
  }

  __device__ void add_background(const Light<T>& lit) {
    for (int c = 0; c < kChannels; ++c) {
      const double sum = warp_sum(lit.bottom < 0 ? grad[c] * lit.light : T(0));
      const int64_t channel = tile.first_channel + c;
      if (threadIdx.x % kWarp != 0 || channel >= p.channels || sum == 0) continue;
      if (!add_units(&fixed.background[tile.item * p.channels + channel], sum * units)) {
        fixed.lost[tile.item] = 1;
      }
    }
  }
};

// One block per tile and group of channels, a thread is a pixel.
template <Coverage kCoverage, int kChannels, class T>
__global__ void __launch_bounds__(kThreads)
    take_tiles_apart(DrawSegmentsParams<T> p, Prepared<T> prepared, FixedGrads fixed,
                     const T* grad_canvas) {
  using Memory = Stage<T, true, kChannels>;
  SOFTRASTER_DYNAMIC_SHARED(Memory, stage);
  const TileGrid grid(p);
  for (int64_t block = blockIdx.x; block < grid.tiles; block += gridDim.x) {
    const Tile tile = grid.tile(block);
    const Word peak = fixed.peaks[tile.item];
    if (prepared.broken[tile.item] != 0 || !is_finite(peak)) continue;
    OverTile<kCoverage, kChannels, T> work{
        p, prepared, fixed, tile, *stage, own_pixel(), units_per_one(peak), {}, {}};
    work.load(grad_canvas);
    const Light<T> lit = work.walk_down();
    if (p.background) work.add_background(lit);
    work.walk_up(lit);
  }
}

// One thread per segment, then one per number of the background.
template <Coverage kCoverage, class T>
__global__ void write_fixed(DrawSegmentsParams<T> p, DrawSegmentsGrads<T> g, Prepared<T> prepared,
                            FixedGrads fixed) {
  const int64_t segments = p.batch * p.count;
  const int64_t tasks = segments + (g.grad_background ? p.batch * p.channels : 0);
  const int64_t threads = int64_t(gridDim.x) * kThreads;
  for (int64_t task = int64_t(blockIdx.x) * kThreads + threadIdx.x; task < tasks; task += threads) {
    const int64_t at = task < segments ? task : task - segments;
    const int64_t item = at / (task < segments ? p.count : p.channels);
    const Word peak = fixed.peaks[item];
    const bool valid = prepared.broken[item] == 0 && fixed.lost[item] == 0 && is_finite(peak);
    const double unit = valid ? 1 / units_per_one(peak) : 0;
    if (task >= segments) {
      g.grad_background[at] =
          valid ? T(units_of(fixed.background[at]) * unit) : std::numeric_limits<T>::quiet_NaN();
      continue;
    }
    const FixedSum* from = fixed.segments + at * fixed.numbers;
    const Segment<T>& s = prepared.segments[at];
    double sums[kSums];
    for (int n = 0; n < kSums; ++n) {
      sums[n] = units_of(from[n]) * unit * power_of_two(excess_bits(p, s, n));
    }
    write_grad(p, g, at, valid, segment_sums<kCoverage>(s, sums));
    for (int64_t c = 0; g.grad_color && c < p.channels; ++c) {
      write_color_grad(p, g, at, c, valid, units_of(from[kSums + c]) * unit);
    }
  }
}

template <Coverage kCoverage, int kChannels, class T>
int launch_tiles(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g,
                 const Prepared<T>& prepared, const FixedGrads& fixed, void* stream) {
  SOFTRASTER_LAUNCH((take_tiles_apart<kCoverage, kChannels, T>), TileGrid(p).tiles, kThreads,
                    sizeof(Stage<T, true, kChannels>), stream, p, prepared, fixed, g.grad_canvas);
  if (const int error = last_error()) return error;
  const int64_t numbers = p.batch * (p.count + (g.grad_background ? p.channels : 0));
  SOFTRASTER_LAUNCH((write_fixed<kCoverage, T>), blocks_for(numbers, kThreads), kThreads, 0, stream,
                    p, g, prepared, fixed);
  return last_error();
}

template <class T>
int64_t bytes(const DrawSegmentsParams<T>& p) {
  Arena arena(nullptr);
  Prepared<T>(p, arena);
  FixedGrads(p, arena);
  return arena.used();
}

template <class T>
int backward(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g, void* workspace,
             void* stream) {
  if (p.batch * (p.count + (g.grad_background ? p.channels : 0)) == 0) return 0;
  Arena arena(workspace);
  const Prepared<T> prepared(p, arena);
  const FixedGrads fixed(p, arena);
  if (const int error = clear(fixed.segments, fixed.bytes, stream)) return error;
  if (const int error = prepare(p, prepared, true, stream)) return error;
  const int64_t size = p.channels * p.pixels();
  SOFTRASTER_LAUNCH(find_peaks<T>, p.batch * blocks_for(size, kPeakNumbers), kThreads, 0, stream,
                    p.batch, size, g.grad_canvas, fixed.peaks);
  if (const int error = last_error()) return error;
  const bool one = p.channels == 1;
  const auto launch = p.coverage == Coverage::kGrid
                          ? (one ? launch_tiles<Coverage::kGrid, 1, T>
                                 : launch_tiles<Coverage::kGrid, kMaxChannels, T>)
                          : (one ? launch_tiles<Coverage::kCapsule, 1, T>
                                 : launch_tiles<Coverage::kCapsule, kMaxChannels, T>);
  return launch(p, g, prepared, fixed, stream);
}

}  // namespace

int64_t over_backward_bytes(const DrawSegmentsParams<float>& p) { return bytes(p); }
int64_t over_backward_bytes(const DrawSegmentsParams<double>& p) { return bytes(p); }

int over_backward(const DrawSegmentsParams<float>& p, const DrawSegmentsGrads<float>& g,
                  void* workspace, void* stream) {
  return backward(p, g, workspace, stream);
}
int over_backward(const DrawSegmentsParams<double>& p, const DrawSegmentsGrads<double>& g,
                  void* workspace, void* stream) {
  return backward(p, g, workspace, stream);
}

}  // namespace cuda
}  // namespace softraster
