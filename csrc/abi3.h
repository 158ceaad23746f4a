// Python objects and the conversion of values, on Python's stable ABI: one wheel runs on Python 3.11 and every later
// one. pybind11 has no stable ABI. These headers have the part of its interface that the binding files use, by its
// names, so that its documentation explains them. abi3_array.h has arrays, abi3_function.h functions and classes.
#pragma once

#ifndef Py_GIL_DISABLED  // Python without the GIL has no stable ABI before 3.15
#define Py_LIMITED_API 0x030B0000
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace pa3d::py {

using ssize_t = Py_ssize_t;

// Becomes a ValueError.
struct value_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// An argument of another type; becomes a TypeError that names the argument. what(): what was expected.
struct cast_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Python's error indicator is set.
struct error_already_set : std::exception {};

inline void throw_if_error(bool failed) {
  if (failed) throw error_already_set();
}

// Owns one reference, or none.
class object {
 public:
  object() = default;
  object(const object& other) : pointer_(other.pointer_) { Py_XINCREF(pointer_); }
  object(object&& other) noexcept : pointer_(std::exchange(other.pointer_, nullptr)) {}
  object& operator=(object other) noexcept {
    std::swap(pointer_, other.pointer_);
    return *this;
  }
  ~object() { Py_XDECREF(pointer_); }

  // Takes over a new reference; null means that Python's error indicator is set.
  static object steal(PyObject* pointer) {
    throw_if_error(pointer == nullptr);
    object result;
    result.pointer_ = pointer;
    return result;
  }
  static object borrow(PyObject* pointer) {
    Py_XINCREF(pointer);
    return steal(pointer);
  }

  PyObject* ptr() const { return pointer_; }
  PyObject* release() { return std::exchange(pointer_, nullptr); }
  bool is_none() const { return pointer_ == Py_None; }
  object attr(const char* name) const { return steal(PyObject_GetAttrString(pointer_, name)); }

  template <class T>
  T cast() const;

 private:
  PyObject* pointer_ = nullptr;
};

inline object none() { return object::borrow(Py_None); }

// Conversion<T> has load(PyObject*) from Python, which throws cast_error, and store(value) to Python. load returns T,
// or a reference to it.
template <class T, class = void>
struct Conversion;

template <class T>
T object::cast() const {
  return Conversion<T>::load(pointer_);
}

template <class T>
object to_object(T&& value) {
  return Conversion<std::decay_t<T>>::store(std::forward<T>(value));
}

template <>
struct Conversion<object> {
  static object load(PyObject* source) { return object::borrow(source); }
  static object store(object value) { return value; }
};

struct tuple : object {
  tuple() = default;
  explicit tuple(object value) : object(std::move(value)) {}
};

template <class... Values>
tuple make_tuple(Values&&... values) {
  object items[] = {to_object(std::forward<Values>(values))...};
  tuple result(object::steal(PyTuple_New(sizeof...(Values))));
  for (size_t i = 0; i < sizeof...(Values); ++i)
    throw_if_error(PyTuple_SetItem(result.ptr(), static_cast<ssize_t>(i), items[i].release()) != 0);
  return result;
}

struct list : object {
  list() : object(steal(PyList_New(0))) {}
  template <class T>
  void append(T&& value) {
    throw_if_error(PyList_Append(ptr(), to_object(std::forward<T>(value)).ptr()) != 0);
  }
};

class dict : public object {
 public:
  dict() : object(steal(PyDict_New())) {}
  explicit dict(object value) : object(std::move(value)) {}

  bool contains(const char* key) const {
    const int found = PyMapping_HasKeyString(ptr(), key);
    return found == 1;
  }
  object operator[](const char* key) const { return steal(PyMapping_GetItemString(ptr(), key)); }

  template <class T>
  void set(const char* key, T&& value) {
    throw_if_error(PyDict_SetItemString(ptr(), key, to_object(std::forward<T>(value)).ptr()) != 0);
  }
};

template <>
struct Conversion<dict> {
  static dict load(PyObject* source) {
    if (!PyDict_Check(source)) throw cast_error("a dict");
    return dict(object::borrow(source));
  }
  static object store(dict value) { return value; }
};

template <class T>
struct Conversion<T, std::enable_if_t<std::is_same_v<T, tuple> || std::is_same_v<T, list>>> {
  static object store(T value) { return value; }
};

template <>
struct Conversion<bool> {
  static bool load(PyObject* source) {
    const int truth = PyObject_IsTrue(source);
    throw_if_error(truth < 0);
    return truth == 1;
  }
  static object store(bool value) { return object::steal(PyBool_FromLong(value)); }
};

template <class T>
struct Conversion<T, std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>>> {
  static T load(PyObject* source) {
    using Wide = std::conditional_t<std::is_signed_v<T>, long long, unsigned long long>;
    PyObject* const index = PyNumber_Index(source);  // an int, or a number of numpy; not a float
    Wide value = 0;
    if (index != nullptr) {
      if constexpr (std::is_signed_v<T>)
        value = PyLong_AsLongLong(index);
      else
        value = PyLong_AsUnsignedLongLong(index);
      Py_DECREF(index);
    }
    const bool failed = PyErr_Occurred() != nullptr;
    PyErr_Clear();
    if (failed || value < std::numeric_limits<T>::min() || value > std::numeric_limits<T>::max())
      throw cast_error("an integer from " + std::to_string(std::numeric_limits<T>::min()) + " to " +
                       std::to_string(std::numeric_limits<T>::max()));
    return static_cast<T>(value);
  }
  static object store(T value) {
    if constexpr (std::is_signed_v<T>)
      return object::steal(PyLong_FromLongLong(value));
    else
      return object::steal(PyLong_FromUnsignedLongLong(value));
  }
};

template <class T>
struct Conversion<T, std::enable_if_t<std::is_floating_point_v<T>>> {
  static T load(PyObject* source) {
    const double value = PyFloat_AsDouble(source);
    if (value == -1 && PyErr_Occurred()) {
      PyErr_Clear();
      throw cast_error("a number");
    }
    return static_cast<T>(value);
  }
  static object store(T value) { return object::steal(PyFloat_FromDouble(value)); }
};

template <>
struct Conversion<std::string> {
  static std::string load(PyObject* source) {
    ssize_t size = 0;
    const char* text = PyUnicode_Check(source) ? PyUnicode_AsUTF8AndSize(source, &size) : nullptr;
    if (PyBytes_Check(source)) {  // the path of a file whose name is not text
      char* bytes = nullptr;
      throw_if_error(PyBytes_AsStringAndSize(source, &bytes, &size) != 0);
      text = bytes;
    }
    if (text == nullptr) {
      PyErr_Clear();
      throw cast_error("a str without lone surrogates");
    }
    return {text, static_cast<size_t>(size)};
  }
  static object store(const std::string& value) {
    return object::steal(PyUnicode_FromStringAndSize(value.data(), static_cast<ssize_t>(value.size())));
  }
};

template <>
struct Conversion<const char*> {
  static object store(const char* value) {
    return value == nullptr ? none() : object::steal(PyUnicode_FromString(value));
  }
};

template <class T>
struct Conversion<std::optional<T>> {
  static std::optional<T> load(PyObject* source) {
    if (source == Py_None) return std::nullopt;
    return Conversion<T>::load(source);
  }
  static object store(const std::optional<T>& value) { return value ? to_object(*value) : none(); }
};

// The items of a sequence; a str is none here, because its characters are never meant.
inline std::vector<object> items_of(PyObject* source) {
  if (PyUnicode_Check(source) || PyBytes_Check(source) || !PySequence_Check(source)) throw cast_error("a sequence");
  std::vector<object> items(static_cast<size_t>(std::max<ssize_t>(0, PySequence_Size(source))));
  throw_if_error(PyErr_Occurred() != nullptr);
  for (size_t i = 0; i < items.size(); ++i)
    items[i] = object::steal(PySequence_GetItem(source, static_cast<ssize_t>(i)));
  return items;
}

template <class T>
struct Conversion<std::vector<T>> {
  static std::vector<T> load(PyObject* source) {
    std::vector<T> values;
    for (const object& item : items_of(source)) values.push_back(item.cast<T>());
    return values;
  }
  static object store(const std::vector<T>& values) {
    list result;
    for (const T& value : values) result.append(value);
    return result;
  }
};

template <class T, size_t N>
struct Conversion<std::array<T, N>> {
  static std::array<T, N> load(PyObject* source) {
    const std::vector<object> items = items_of(source);
    if (items.size() != N) throw cast_error("a sequence of " + std::to_string(N));
    std::array<T, N> values;
    for (size_t i = 0; i < N; ++i) values[i] = items[i].template cast<T>();
    return values;
  }
};

// Lets other threads of Python run while C++ works.
class gil_scoped_release {
 public:
  gil_scoped_release() : state_(PyEval_SaveThread()) {}
  ~gil_scoped_release() { PyEval_RestoreThread(state_); }
  gil_scoped_release(const gil_scoped_release&) = delete;
  gil_scoped_release& operator=(const gil_scoped_release&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace pa3d::py
