// Segments made ready to be drawn, a few at a time. What is written for a segment, its tables above
// all, is read at other places and widths than it was written, which stalls while it is on its way
// to memory: so it is left alone until the whole block is ready.
#pragma once
#include <algorithm>
#include <memory>
#include <type_traits>

#include "../draw_segments.h"
#include "chunks.h"

namespace softraster {
namespace cpu {

// Where the pixels lie that segments will be drawn onto or gathered from.
template <class T>
struct Pixels {
  const T* first;  // null: they are in the cache, and need not be asked for
  int64_t planes, stride;
};

constexpr int64_t kCacheBytes = 1 << 20;  // of a core's own cache

template <class T>
SOFTRASTER_INLINE int64_t canvas_bytes(const DrawSegmentsParams<T>& p) {
  return p.channels * p.pixels() * static_cast<int64_t>(sizeof(T));
}

template <class T>
SOFTRASTER_INLINE Pixels<T> pixels_of(const T* canvas, bool cached,
                                      const DrawSegmentsParams<T>& p) {
  return {cached ? nullptr : canvas, p.channels, p.pixels()};
}

template <class T>
struct ReadySegment {
  int64_t at;  // of all (batch * count)
  Segment<T> s;
  BoxTable<T> x, y;  // for kGrid
  ChunkFinder<T> finder;
  ChunkList<T> list;  // the first of its chunks

  // The next chunks into `list`; false where none are left.
  SOFTRASTER_INLINE bool list_more() {
    if (finder.done()) return false;
    finder.list_next(s, list);
    return list.size > 0;
  }
};

template <class T>
class Block {
 public:
  static constexpr int kSegments = 8;

  // with_grads: its tables get derivatives, too.
  Block(int64_t rows, int64_t columns, bool with_grads)
      : width_(columns),
        largest_(largest_table(rows) + largest_table(columns)),
        room_(largest_ + kSpareNumbers),
        numbers_(new T[(with_grads ? 4 : 1) * room_]) {}

  SOFTRASTER_INLINE void clear() { size_ = 0, used_ = 0; }
  SOFTRASTER_INLINE int size() const { return size_; }
  SOFTRASTER_INLINE bool has_room() const { return size_ < kSegments && used_ + largest_ <= room_; }
  SOFTRASTER_INLINE ReadySegment<T>& operator[](int i) { return segments_[i]; }

  // A segment and the rows and columns, at least one each, that it reaches. Its first pixels are
  // asked for, to be there when it is drawn.
  template <bool with_grads>
  SOFTRASTER_INLINE void add(int64_t at, const Segment<T>& segment, BandRows rows, Range columns,
                             const Pixels<T>& pixels) {
    ReadySegment<T>& ready = segments_[size_++];
    ready.at = at;
    ready.s = segment;
    shape_boxes(ready.s);
    const Range chunks = chunk_range(columns, width_);
    if (segment.kind != Kind::kCapsule) {
      ready.x = make_table<with_grads>(chunks, segment.mid_x, ready.s.box_x);
      ready.y =
          make_table<with_grads>({rows.block_begin(), rows.end}, segment.mid_y, ready.s.box_y);
    }
    const bool with_second = with_grads || segment.kind == Kind::kCapsule;
    ready.finder =
        ChunkFinder<T>(ready.s, rows, columns, std::min(chunks.end, width_), with_second);
    ready.finder.list_next(ready.s, ready.list);
    for (int64_t plane = 0; pixels.first && plane < pixels.planes; ++plane) {
      const T* const first = pixels.first + plane * pixels.stride;
      for (int32_t i = 0; i < ready.list.size; ++i) {
        __builtin_prefetch(first + ready.list.row[i] * width_ + ready.list.column[i]);
      }
    }
  }

 private:
  static constexpr int64_t kSpareNumbers = 4096;  // for the tables of a few segments

  template <bool with_grads>
  SOFTRASTER_INLINE BoxTable<T> make_table(Range pixels, double middle, const BoxShape<T>& shape) {
    T* const value = numbers_.get() + used_;
    const int64_t next = with_grads ? room_ : 0;
    const BoxTable<T> table = {pixels.begin, value, value + next, value + 2 * next,
                               value + 3 * next};
    const int64_t size = table_size(pixels);
    fill_table<with_grads>(size, middle, shape, table);
    used_ += size;
    return table;
  }

  int64_t width_, largest_, room_;
  std::unique_ptr<T[]> numbers_;
  int64_t used_ = 0;
  int size_ = 0;
  ReadySegment<T> segments_[kSegments];
};

// Calls visit(segment) for all that add_next adds, in order. add_next() adds one segment to the
// block or none, and returns false where there are no more.
template <class T, class AddNext, class Visit>
SOFTRASTER_INLINE void for_ready(Block<T>& block, const AddNext& add_next, const Visit& visit) {
  for (bool more = true; more;) {
    block.clear();
    while (more && block.has_room()) more = add_next();
    for (int i = 0; i < block.size(); ++i) visit(block[i]);
  }
}

// Calls visit(kind) with the segment's kind as a compile-time constant.
template <class T, class Visit>
SOFTRASTER_INLINE void with_kind(const Segment<T>& s, const Visit& visit) {
  switch (s.kind) {
    case Kind::kFlat:
      return visit(std::integral_constant<Kind, Kind::kFlat>());
    case Kind::kSteep:
      return visit(std::integral_constant<Kind, Kind::kSteep>());
    case Kind::kDot:
      return visit(std::integral_constant<Kind, Kind::kDot>());
    case Kind::kCapsule:
      return visit(std::integral_constant<Kind, Kind::kCapsule>());
  }
}

}  // namespace cpu
}  // namespace softraster
