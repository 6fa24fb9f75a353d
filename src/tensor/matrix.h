#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <type_traits>

#include "base/contracts.h"

namespace tender {

/// Row-major view that owns nothing; copy it freely, outlive its owner never.
///
/// Element [r, c] stands at data()[r * stride() + c]; stride() >= cols().
template <class T>
class MatrixView {
 public:
  MatrixView() = default;
  MatrixView(T* data, std::size_t rows, std::size_t cols) : MatrixView(data, rows, cols, cols) {}
  MatrixView(T* data, std::size_t rows, std::size_t cols, std::size_t stride)
      : data_(data), rows_(rows), cols_(cols), stride_(stride) {
    require(stride >= cols, "rows of a matrix do not overlap");
  }
  /// A view of constants from a view of variables.
  template <class U>
  requires(std::is_same_v<const U, T>)        // a template, lest it pass for the copy constructor
      MatrixView(const MatrixView<U>& other)  // NOLINT: wanted implicit
      : data_(other.data()), rows_(other.rows()), cols_(other.cols()), stride_(other.stride()) {}

  T* data() const { return data_; }
  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }
  std::size_t stride() const { return stride_; }
  bool empty() const { return rows_ == 0 || cols_ == 0; }

  T& operator()(std::size_t r, std::size_t c) const { return data_[r * stride_ + c]; }
  std::span<T> row(std::size_t r) const { return {data_ + r * stride_, cols_}; }

  /// Rows [begin, begin + count).
  MatrixView rows_from(std::size_t begin, std::size_t count) const {
    require(begin + count <= rows_, "rows lie inside the matrix");
    return {data_ + begin * stride_, count, cols_, stride_};
  }
  /// Columns [begin, begin + count).
  MatrixView cols_from(std::size_t begin, std::size_t count) const {
    require(begin + count <= cols_, "columns lie inside the matrix");
    return {data_ + begin, rows_, count, stride_};
  }

 private:
  T* data_ = nullptr;
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
  std::size_t stride_ = 0;
};

/// Uninitialised memory of trivial elements on a 64-byte border, readable 64 bytes past its end.
template <class T>
class AlignedBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t count) : size_(count) {
    if (count == 0) return;
    const std::size_t bytes = (count * sizeof(T) + 64 + 63) / 64 * 64;
    data_.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
    if (data_ == nullptr) throw std::bad_alloc();
    std::fill_n(reinterpret_cast<unsigned char*>(data_.get()) + count * sizeof(T),
                bytes - count * sizeof(T), static_cast<unsigned char>(0));
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T& operator[](std::size_t i) { return data_.get()[i]; }
  const T& operator[](std::size_t i) const { return data_.get()[i]; }
  T* begin() { return data(); }
  T* end() { return data() + size_; }
  const T* begin() const { return data(); }
  const T* end() const { return data() + size_; }
  std::span<T> span() { return {data(), size_}; }
  std::span<const T> span() const { return {data(), size_}; }
  void fill(T value) { std::fill_n(data(), size_, value); }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
  std::size_t size_ = 0;
};

/// Owns its numbers, row-major and without gaps; moves, and copies only by copy().
template <class T>
class MatrixOf {
 public:
  MatrixOf() = default;
  /// Not initialised: whoever makes a matrix fills it.
  MatrixOf(std::size_t rows, std::size_t cols) : data_(rows * cols), rows_(rows), cols_(cols) {}

  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }
  MatrixView<T> view() { return {data_.data(), rows_, cols_}; }
  MatrixView<const T> view() const { return {data_.data(), rows_, cols_}; }
  std::span<T> row(std::size_t r) { return view().row(r); }
  std::span<const T> row(std::size_t r) const { return view().row(r); }
  std::span<T> span() { return data_.span(); }
  std::span<const T> span() const { return data_.span(); }
  T& operator()(std::size_t r, std::size_t c) { return data_[r * cols_ + c]; }
  const T& operator()(std::size_t r, std::size_t c) const { return data_[r * cols_ + c]; }

  /// Gives the matrix this shape; keeps the memory where it is large enough. Contents are
  /// undefined.
  void resize(std::size_t rows, std::size_t cols) {
    if (rows * cols > data_.size()) data_ = AlignedBuffer<T>(rows * cols);
    rows_ = rows;
    cols_ = cols;
  }
  MatrixOf copy() const {
    MatrixOf other(rows_, cols_);
    std::copy_n(data_.data(), rows_ * cols_, other.data_.data());
    return other;
  }

 private:
  AlignedBuffer<T> data_;
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
};

using Matrix = MatrixOf<float>;

}  // namespace tender
