// Arrays of numpy, through Python's buffer protocol: neither numpy's headers nor its version matter.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "abi3.h"

namespace pa3d::py {

namespace detail {

// A function or type of numpy, looked up once. Not a static object: importing lets other threads run, and one that
// waited for the static would keep the GIL. The reference is kept for ever, because numpy may go before a static does.
inline PyObject* numpy(PyObject*& cache, const char* name) {
  if (cache == nullptr) {
    PyObject* const found = object::steal(PyImport_ImportModule("numpy")).attr(name).release();
    if (cache == nullptr) cache = found;
  }
  return cache;
}

inline PyObject* numpy_empty() {
  static PyObject* cache = nullptr;
  return numpy(cache, "empty");
}

inline PyObject* numpy_ndarray() {
  static PyObject* cache = nullptr;
  return numpy(cache, "ndarray");
}

inline PyObject* numpy_asarray() {
  static PyObject* cache = nullptr;
  return numpy(cache, "asarray");
}

// Of numpy: f, i, u or b.
template <class T>
constexpr char kind_of() {
  if (std::is_same_v<T, bool>) return 'b';
  return std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 'i' : 'u';
}

template <class T>
PyObject* numpy_dtype() {
  static PyObject* cache = nullptr;
  if (cache == nullptr) {
    static PyObject* dtype = nullptr;
    const std::string code = kind_of<T>() + std::to_string(sizeof(T));
    const object text = to_object(code);
    cache = object::steal(PyObject_CallFunctionObjArgs(numpy(dtype, "dtype"), text.ptr(), nullptr)).release();
  }
  return cache;
}

// The kind of a type code of the module struct. Codes with a byte order or without alignment have none.
inline char kind_of(const char* format) {
  const std::string code = format == nullptr ? "B" : format;
  if (code.size() != 1) return 0;
  if (code == "?") return 'b';
  if (std::string("fd").find(code) != std::string::npos) return 'f';
  if (std::string("bhilq").find(code) != std::string::npos) return 'i';
  return std::string("BHILQ").find(code) != std::string::npos ? 'u' : 0;
}

// A Python object that lends memory of C++ to numpy, and frees it when no array uses it any more.
struct Memory {
  PyObject_HEAD;
  void* allocated;
  void (*destroy)(void*);
  void* start;
  ssize_t bytes;

  static int lend(PyObject* self, Py_buffer* view, int flags) {
    const auto* const memory = reinterpret_cast<Memory*>(self);
    return PyBuffer_FillInfo(view, self, memory->start, memory->bytes, 0, flags);
  }

  static void dealloc(PyObject* self) {
    auto* const memory = reinterpret_cast<Memory*>(self);
    if (memory->destroy != nullptr) memory->destroy(memory->allocated);
    PyTypeObject* const type = Py_TYPE(self);
    reinterpret_cast<freefunc>(PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
  }

  static PyTypeObject* type() {
    static PyType_Slot slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(lend)},
                                  {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
                                  {0, nullptr}};
    static PyType_Spec spec = {"pa3d._C.Memory", sizeof(Memory), 0, Py_TPFLAGS_DEFAULT, slots};
    static PyObject* cache = nullptr;
    if (cache == nullptr) cache = object::steal(PyType_FromSpec(&spec)).release();
    return reinterpret_cast<PyTypeObject*>(cache);
  }
};

inline object to_shape(const std::vector<ssize_t>& sides) {
  tuple shape(object::steal(PyTuple_New(static_cast<ssize_t>(sides.size()))));
  for (size_t i = 0; i < sides.size(); ++i)
    throw_if_error(PyTuple_SetItem(shape.ptr(), static_cast<ssize_t>(i), PyLong_FromSsize_t(sides[i])) != 0);
  return shape;
}

}  // namespace detail

// Memory of C++ with the function that frees it: the owner of an array.
class capsule : public object {
 public:
  capsule(void* pointer, void (*destroy)(void*)) {
    PyObject* const self = PyType_GenericAlloc(detail::Memory::type(), 0);
    if (self == nullptr) {
      destroy(pointer);
      throw error_already_set();
    }
    auto* const memory = reinterpret_cast<detail::Memory*>(self);
    memory->allocated = pointer, memory->destroy = destroy;
    object::operator=(steal(self));
  }
};

// An array of any type and layout.
class array : public object {
 public:
  array() = default;

  // Borrows the memory of an object that has the buffer protocol, such as an array; nothing is copied.
  static array view_of(PyObject* source) {
    array result(object::borrow(source));
    auto* const view = new Py_buffer();
    if (PyObject_GetBuffer(source, view, PyBUF_RECORDS_RO) != 0) {
      delete view;
      PyErr_Clear();
      throw cast_error("an array");
    }
    result.view_.reset(view, [](Py_buffer* lent) {
      PyBuffer_Release(lent);
      delete lent;
    });
    return result;
  }

  ssize_t ndim() const { return view_->ndim; }
  const ssize_t* shape() const { return view_->shape; }
  ssize_t shape(ssize_t axis) const { return view_->shape[axis]; }
  ssize_t size() const { return view_->len / std::max<ssize_t>(1, view_->itemsize); }
  const void* data() const { return view_->buf; }

  // Whether it is contiguous in C order and its values are those of T.
  template <class T>
  bool has_type() const {
    return detail::kind_of(view_->format) == detail::kind_of<T>() && view_->itemsize == ssize_t{sizeof(T)} &&
           PyBuffer_IsContiguous(view_.get(), 'C') != 0;
  }

  enum { c_style = 1 };  // what every array_t is

 protected:
  explicit array(object value) : object(std::move(value)) {}
  std::shared_ptr<Py_buffer> view_;
};

// A contiguous array of T in C order.
template <class T, int = array::c_style>
class array_t : public array {
 public:
  using value_type = T;

  array_t() = default;
  explicit array_t(ssize_t n) : array_t(std::vector<ssize_t>{n}) {}

  // Its values are not initialised.
  explicit array_t(const std::vector<ssize_t>& shape)
      : array_t(view_of(object::steal(PyObject_CallFunctionObjArgs(detail::numpy_empty(), detail::to_shape(shape).ptr(),
                                                                   detail::numpy_dtype<T>(), nullptr))
                            .ptr())) {}

  array_t(ssize_t n, const T* values) : array_t(n) { std::copy_n(values, n, mutable_data()); }

  // An array at data, in memory that the owner frees.
  array_t(const std::vector<ssize_t>& shape, T* data, const capsule& owner) {
    auto* const memory = reinterpret_cast<detail::Memory*>(owner.ptr());
    memory->start = data, memory->bytes = sizeof(T);
    for (const ssize_t side : shape) memory->bytes *= side;
    *this = array_t(
        view_of(object::steal(PyObject_CallFunctionObjArgs(detail::numpy_ndarray(), detail::to_shape(shape).ptr(),
                                                           detail::numpy_dtype<T>(), owner.ptr(), nullptr))
                    .ptr()));
  }

  // source itself; another type or layout is an error.
  static array_t exact(PyObject* source) {
    array_t found(view_of(source));
    if (!found.template has_type<T>()) throw cast_error(expected());
    return found;
  }

  // source, or a copy if its type or layout differs and every value can be kept.
  static array_t converted(PyObject* source) {
    try {
      return exact(source);
    } catch (const cast_error&) {
    }
    PyObject* const whole = PyObject_CallFunctionObjArgs(detail::numpy_asarray(), source, nullptr);
    PyObject* copy = nullptr;
    if (whole != nullptr) {
      copy = PyObject_CallMethod(whole, "astype", "Oss", detail::numpy_dtype<T>(), "C", "safe");
      Py_DECREF(whole);
    }
    if (copy == nullptr) {
      PyErr_Clear();
      throw cast_error(expected());
    }
    return exact(object::steal(copy).ptr());
  }

  const T* data() const { return static_cast<const T*>(array::data()); }
  T* mutable_data() { return static_cast<T*>(view_->buf); }  // only of arrays that C++ made

 private:
  explicit array_t(array source) : array(std::move(source)) {}

  static std::string expected() {
    if (std::is_same_v<T, bool>) return "a contiguous array of bool";
    return "a contiguous array of " +
           std::string(std::is_floating_point_v<T> ? "float"
                       : std::is_signed_v<T>       ? "int"
                                                   : "uint") +
           std::to_string(8 * sizeof(T));
  }
};

template <>
struct Conversion<array> {
  static array load(PyObject* source) { return array::view_of(source); }
};

template <class T>
struct Conversion<array_t<T>> {
  static array_t<T> load(PyObject* source) { return array_t<T>::converted(source); }
  static object store(const array_t<T>& value) { return value; }
};

// Whether the value is already an array of this type and layout: isinstance<array_t<float>>(value).
template <class Array>
bool isinstance(const array& value) {
  return value.has_type<typename Array::value_type>();
}

}  // namespace pa3d::py
