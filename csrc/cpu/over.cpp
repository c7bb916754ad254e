// Backward of kOver on the CPU: parallel over bands of rows of fixed height, then over segments.
//
// With out_n = out_{n-1} + a_n (color_n - out_{n-1}), a gradient needs what lay below a segment and
// how much light passes those above. Dividing either out of the canvas fails where a_n is nearly 1.
// So a band is drawn again, logging what each segment finds, and then taken apart from the top.
// What is drawn is not the colors but their products with the canvas's gradient, summed over
// channels: one number a pixel, which obeys the same formula. Long logs are cut into groups, with a
// copy of the band where each begins. A segment's sums over each band are kept and added in the
// order of the bands.
#include <algorithm>
#include <memory>
#include <numeric>

#include "gather.h"
#include "passes.h"

namespace softraster {
namespace cpu {
namespace {

constexpr int64_t kBandRows = 32;
constexpr int64_t kLogNumbers = 1 << 20;  // of a group; its last block may go beyond

// Which segments reach each band, in their order, and where their sums over it are kept.
template <class T>
struct Plan {
  struct Member {
    int64_t segment, record;
  };

  int64_t bands;
  std::vector<uint8_t> item_valid;    // (batch,)
  std::vector<int64_t> first_record;  // (batch * count + 1,)
  std::vector<int64_t> first_member;  // (batch * bands + 1,)
  std::vector<Member> members;
  std::vector<SegmentSums> records;        // a segment's next to each other
  std::vector<double> color_records;       // (records, channels), empty without colors
  std::vector<double> background_records;  // (batch, bands, channels)

  explicit Plan(const DrawSegmentsParams<T>& p)
      : bands((p.rows + kBandRows - 1) / kBandRows),
        item_valid(p.batch, 1),
        first_record(p.batch * p.count + 1),
        first_member(p.batch * bands + 1),
        background_records(p.batch * bands * p.channels) {
    std::vector<Range> reached(p.batch * p.count);  // bands
    for (int64_t at = 0; at < p.batch * p.count; ++at) {
      const int64_t item = at / p.count;
      const Segment<T> s = segment_at(p, at);
      const bool finite = !p.intensity || 0 * p.intensity[at] == 0;
      if (!s.valid || !finite) item_valid[item] = 0;
      const Range rows = row_support(s, {0, p.rows}), columns = column_support(s, {0, p.columns});
      if (s.valid && !rows.empty() && !columns.empty()) {
        reached[at] = {rows.begin / kBandRows, (rows.end - 1) / kBandRows + 1};
      }
      const Range mine = reached[at];
      first_record[at + 1] = first_record[at] + mine.end - mine.begin;
      for (int64_t band = mine.begin; band < mine.end; ++band) {
        ++first_member[item * bands + band + 1];
      }
    }
    const int64_t count = first_record.back();
    std::partial_sum(first_member.begin(), first_member.end(), first_member.begin());
    members.resize(count);
    std::vector<int64_t> next(first_member.begin(), first_member.end() - 1);
    for (int64_t at = 0; at < p.batch * p.count; ++at) {
      const Range mine = reached[at];
      for (int64_t band = mine.begin; band < mine.end; ++band) {
        members[next[at / p.count * bands + band]++] = {at, first_record[at] + band - mine.begin};
      }
    }
    records.resize(count);
    color_records.resize(p.color ? count * p.channels : 0);
  }

  // Of a band.
  int64_t most_members() const {
    int64_t most = 0;
    for (size_t task = 1; task < first_member.size(); ++task) {
      most = std::max(most, first_member[task] - first_member[task - 1]);
    }
    return most;
  }
};

// A band while it is drawn and taken apart.
template <class T>
struct BandState {
  int64_t item, band;
  Range rows;
  int64_t first_pixel, size;
  const T* grad;          // of the canvas
  std::vector<T> canvas;  // (rows, columns): what was drawn so far times `grad`, over channels
  std::vector<T> light;   // (rows, columns): how much of it passes what lies above
  // d loss / d opacity of each segment's pixels as if no light were lost above it, a chunk after
  // the other: (chunks, kLanes).
  std::unique_ptr<T[]> log;
  int64_t logged;
  std::vector<int64_t> starts;  // in the log, of the group's members
};

template <class T>
struct OverGrads {
  int64_t channels, stride, first_pixel;
  const T* grad;  // of the canvas
  bool colored;
  T intensity;
  T* light;
  const T* logged;  // from the segment's entry on

  template <class AddColor>
  SOFTRASTER_INLINE void operator()(int64_t pixel, int64_t lanes, const T* coverage, T* out,
                                    const AddColor& add_color) {
    T* const at = light + (pixel - first_pixel);
    const Lanes<T> passing = load(at, lanes);
    store(passing * load(logged), out);
    for (int64_t c = 0; colored && c < channels; ++c) {
      add_color(c, load(grad + c * stride + pixel, lanes) * passing);
    }
    store(passing * (T(1) - intensity * load(coverage)), lanes, at);
    logged += kLanes;
  }
};

// Draws a segment onto the band, logging what it finds there.
template <class T>
SOFTRASTER_INLINE void draw_onto(const DrawSegmentsParams<T>& p, ReadySegment<T>& ready,
                                 BandState<T>& state) {
  const T* const color = p.color ? p.color + ready.at * p.channels : nullptr;
  const T* const grad = state.grad;
  T* log = state.log.get() + state.logged;
  state.starts.push_back(state.logged);
  const auto draw = [&](int64_t pixel, const T* coverage, int64_t lanes) SOFTRASTER_INLINE_LAMBDA {
    T* const at = state.canvas.data() + (pixel - state.first_pixel);
    Lanes<T> ink = load(grad + pixel, lanes);
    if (color) ink *= color[0];
    for (int64_t c = 1; c < p.channels; ++c) {
      ink += color[c] * load(grad + c * p.pixels() + pixel, lanes);
    }
    T inks[kLanes], pixels[kLanes];
    store(ink, inks);
    load_lanes(at, lanes, pixels);
    store(ink - load(pixels), log);
    log += kLanes;
    for (int lane = 0; lane < kLanes; ++lane) {
      pixels[lane] = over(pixels[lane], coverage[lane], inks[lane]);
    }
    store_lanes(pixels, lanes, at);
  };
  cover_segment(ready, intensity_at(p, ready.at), p.columns, draw);
  state.logged = log - state.log.get();
}

template <class T>
SOFTRASTER_INLINE void take_apart(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g,
                                  ReadySegment<T>& ready, int64_t log_start, int64_t record,
                                  const Workspace<T>& work, BandState<T>& state, Plan<T>& plan) {
  const int64_t at = ready.at;
  const T* const logged = state.log.get() + log_start;
  T* const light = state.light.data();
  OverGrads<T> pixel_grads = {p.channels,
                              p.pixels(),
                              state.first_pixel,
                              state.grad,
                              p.color != nullptr,
                              intensity_at(p, at),
                              light,
                              logged};
  SegmentSums sums = {};
  std::fill_n(work.color_sums, p.color ? p.channels : 0, 0.0);
  with_kind(ready.s, [&](auto kind) SOFTRASTER_INLINE_LAMBDA {
    gather_segment<kind.value>(ready, p.columns, work, pixel_grads, sums);
  });
  plan.records[record] = sums;
  if (p.color) {
    std::copy_n(work.color_sums, p.channels, plan.color_records.data() + record * p.channels);
  }
}

// Draws members of the band from `begin` on, until `end` or until the log is long; returns where it
// stopped.
template <class T>
SOFTRASTER_INLINE int64_t draw_group(const DrawSegmentsParams<T>& p, int64_t begin, int64_t end,
                                     const Workspace<T>& work, BandState<T>& state,
                                     const Plan<T>& plan) {
  const Pixels<T> pixels = pixels_of(state.grad, canvas_bytes(p) <= kCacheBytes / 4, p);
  state.logged = 0;
  state.starts.clear();
  int64_t next = begin;
  const auto next_at = [&]() SOFTRASTER_INLINE_LAMBDA {
    const bool more = next < end && state.logged < kLogNumbers;
    return more ? plan.members[next++].segment : int64_t{-1};
  };
  const auto add = [&](int64_t at, const SegmentLanes<T>& lanes, int i) SOFTRASTER_INLINE_LAMBDA {
    work.block->template add<false>(at, lanes.segment(i), {lanes.rows(i), state.rows},
                                    lanes.columns(i), pixels);
    return true;
  };
  for_ready(p, *work.block, next_at, add,
            [&](ReadySegment<T>& ready) SOFTRASTER_INLINE_LAMBDA { draw_onto(p, ready, state); });
  return next;
}

// Takes the group of members from `begin` on apart, the last one first.
template <class T>
SOFTRASTER_INLINE void take_group_apart(const DrawSegmentsParams<T>& p,
                                        const DrawSegmentsGrads<T>& g, int64_t begin,
                                        const Workspace<T>& work, BandState<T>& state,
                                        Plan<T>& plan) {
  int64_t left = static_cast<int64_t>(state.starts.size()), taken = left;
  const auto next_at = [&]() SOFTRASTER_INLINE_LAMBDA {
    return left > 0 ? plan.members[begin + --left].segment : int64_t{-1};
  };
  const auto add = [&](int64_t at, const SegmentLanes<T>& lanes, int i) SOFTRASTER_INLINE_LAMBDA {
    work.block->template add<true>(at, lanes.segment(i), {lanes.rows(i), state.rows},
                                   lanes.columns(i), {});
    return true;
  };
  for_ready(p, *work.block, next_at, add, [&](ReadySegment<T>& ready) SOFTRASTER_INLINE_LAMBDA {
    --taken;
    take_apart(p, g, ready, state.starts[taken], plan.members[begin + taken].record, work, state,
               plan);
  });
}

// The light that falls on the background, times the canvas's gradient, summed over the band.
template <class T>
SOFTRASTER_INLINE double background_sum(const T* grad, const std::vector<T>& light) {
  constexpr size_t kTurn = 1024;  // numbers that are added up in T
  double sum = 0;
  for (size_t begin = 0; begin < light.size(); begin += kTurn) {
    const size_t end = std::min(light.size(), begin + kTurn);
    T lanes[2 * kLanes] = {};
    size_t at = begin;
    for (; at + 2 * kLanes <= end; at += 2 * kLanes) {
      for (int lane = 0; lane < 2 * kLanes; ++lane) {
        lanes[lane] += grad[at + lane] * light[at + lane];
      }
    }
    for (; at < end; ++at) lanes[0] += grad[at] * light[at];
    for (const T lane : lanes) sum += lane;
  }
  return sum;
}

template <class T>
SOFTRASTER_INLINE void fill_background(const DrawSegmentsParams<T>& p, BandState<T>& state) {
  std::fill(state.canvas.begin(), state.canvas.end(), T(0));
  for (int64_t c = 0; p.background && c < p.channels; ++c) {
    const T ground = p.background[state.item * p.channels + c];
    const T* const grad = state.grad + c * p.pixels() + state.first_pixel;
    T* const canvas = state.canvas.data();
    for (int64_t at = 0; at < state.size; ++at) canvas[at] += ground * grad[at];
  }
}

template <class T>
SOFTRASTER_INLINE void band_backward(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g,
                                     const Workspace<T>& work, BandState<T>& state, Plan<T>& plan) {
  const int64_t task = state.item * plan.bands + state.band;
  const int64_t begin = plan.first_member[task], end = plan.first_member[task + 1];
  fill_background(p, state);
  std::fill(state.light.begin(), state.light.end(), T(1));
  std::vector<int64_t> groups = {begin};
  std::vector<T> copies;  // of the canvas where each group but the first begins
  while (groups.back() < end) {
    if (groups.back() > begin) {
      copies.insert(copies.end(), state.canvas.begin(), state.canvas.end());
    }
    groups.push_back(draw_group(p, groups.back(), end, work, state, plan));
  }
  for (size_t group = groups.size() - 1; group-- > 0;) {
    if (groups[group + 1] < end) {  // the last one's log is there
      if (group == 0) {
        fill_background(p, state);
      } else {
        std::copy_n(copies.data() + (group - 1) * state.canvas.size(), state.canvas.size(),
                    state.canvas.data());
      }
      draw_group(p, groups[group], groups[group + 1], work, state, plan);
    }
    take_group_apart(p, g, groups[group], work, state, plan);
  }
  if (!g.grad_background) return;
  for (int64_t c = 0; c < p.channels; ++c) {
    plan.background_records[task * p.channels + c] =
        background_sum(state.grad + c * p.pixels() + state.first_pixel, state.light);
  }
}

SOFTRASTER_VECTOR_CLONES void band_clone(const DrawSegmentsParams<float>& p,
                                         const DrawSegmentsGrads<float>& g,
                                         const Workspace<float>& work, BandState<float>& state,
                                         Plan<float>& plan) {
  band_backward(p, g, work, state, plan);
}
SOFTRASTER_VECTOR_CLONES void band_clone(const DrawSegmentsParams<double>& p,
                                         const DrawSegmentsGrads<double>& g,
                                         const Workspace<double>& work, BandState<double>& state,
                                         Plan<double>& plan) {
  band_backward(p, g, work, state, plan);
}

template <class T>
void add_up(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g, const Plan<T>& plan) {
  parallel_for(p.batch * p.count, 1024, [&](int64_t begin, int64_t end) {
    std::vector<double> colors(p.channels);
    for (int64_t at = begin; at < end; ++at) {
      SegmentSums sums = {};
      std::fill(colors.begin(), colors.end(), 0.0);
      for (int64_t r = plan.first_record[at]; r < plan.first_record[at + 1]; ++r) {
        sums += plan.records[r];
        for (int64_t c = 0; p.color && c < p.channels; ++c) {
          colors[c] += plan.color_records[r * p.channels + c];
        }
      }
      const bool valid = plan.item_valid[at / p.count];
      write_grad(p, g, at, valid, sums);
      for (int64_t c = 0; g.grad_color && c < p.channels; ++c) {
        write_color_grad(p, g, at, c, valid, colors[c]);
      }
    }
  });
  for (int64_t at = 0; g.grad_background && at < p.batch * p.channels; ++at) {
    const int64_t item = at / p.channels, c = at % p.channels;
    double sum = 0;
    for (int64_t band = 0; band < plan.bands; ++band) {
      sum += plan.background_records[(item * plan.bands + band) * p.channels + c];
    }
    g.grad_background[at] = plan.item_valid[item] ? T(sum) : std::numeric_limits<T>::quiet_NaN();
  }
}

template <class T>
void backward(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g) {
  Plan<T> plan(p);
  // What a group may log: a segment has no more numbers than that, and a block so many segments.
  const int64_t of_segment = kBandRows * (p.columns + kLanes);
  const int64_t room =
      std::min(plan.most_members() * of_segment, kLogNumbers + Block<T>::kSegments * of_segment);
  parallel_for(p.batch * plan.bands, 1, [&](int64_t begin, int64_t end) {
    const WorkspaceBuffer<T> buffer(p);
    BandState<T> state;
    state.log.reset(new T[room]);
    for (int64_t task = begin; task < end; ++task) {
      state.item = task / plan.bands, state.band = task % plan.bands;
      if (!plan.item_valid[state.item]) continue;
      state.rows = {state.band * kBandRows, std::min(p.rows, (state.band + 1) * kBandRows)};
      state.first_pixel = state.rows.begin * p.columns;
      state.size = (state.rows.end - state.rows.begin) * p.columns;
      state.grad = g.grad_canvas + state.item * p.channels * p.pixels();
      state.canvas.resize(state.size);
      state.light.resize(state.size);
      band_clone(p, g, buffer.work, state, plan);
    }
  });
  add_up(p, g, plan);
}

}  // namespace

void over_backward(const DrawSegmentsParams<float>& p, const DrawSegmentsGrads<float>& g) {
  backward(p, g);
}
void over_backward(const DrawSegmentsParams<double>& p, const DrawSegmentsGrads<double>& g) {
  backward(p, g);
}

}  // namespace cpu
}  // namespace softraster
