// Functions and classes of C++ in a Python module, on the stable ABI: m.def and class_, as in pybind11.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "abi3.h"
#include "abi3_array.h"

namespace pa3d::py {

// The name of a parameter, and its default if it has one.
struct arg {
  explicit arg(const char* its_name) : name(its_name) {}
  // An array of another type or layout is an error, and not copied.
  arg& noconvert() {
    convert = false;
    return *this;
  }
  template <class T>
  arg& operator=(T&& value) {
    fallback = to_object(std::forward<T>(value));
    return *this;
  }

  const char* name;
  bool convert = true;
  object fallback;
};

namespace literals {
inline arg operator""_a(const char* name, size_t) { return arg(name); }
}  // namespace literals

namespace detail {

using Translator = bool (*)(std::exception_ptr);

inline std::vector<Translator>& translators() {
  static std::vector<Translator> all;
  return all;
}

// Sets an exception with a message that may quote bytes which are not UTF-8.
inline void set_message(PyObject* type, const std::string& message) {
  PyObject* const text = PyUnicode_DecodeUTF8(message.data(), static_cast<ssize_t>(message.size()), "backslashreplace");
  if (text == nullptr) return;
  PyErr_SetObject(type, text);
  Py_DECREF(text);
}

// Turns the exception that is being handled into Python's error indicator.
inline void set_error() {
  for (const Translator translate : translators())
    if (translate(std::current_exception())) return;
  try {
    throw;
  } catch (const error_already_set&) {
  } catch (const value_error& error) {
    set_message(PyExc_ValueError, error.what());
  } catch (const cast_error& error) {
    set_message(PyExc_TypeError, std::string("expected ") + error.what());
  } catch (const std::invalid_argument& error) {
    set_message(PyExc_ValueError, error.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    set_message(PyExc_RuntimeError, error.what());
  } catch (...) {
    PyErr_SetString(PyExc_RuntimeError, "an exception of unknown type");
  }
}

// A C++ function with its name and parameters. Lives as long as the process.
struct Function {
  std::string name, doc;
  std::vector<arg> args;  // without self
  bool is_method = false;
  std::function<object(const Function&, PyObject* const*)> body;
  PyMethodDef definition{};

  // "name(points, k, threads=0)\n--\n\n", from which Python makes __text_signature__.
  void describe() {
    doc = name + (is_method ? "($self, /" : "(");
    bool first = !is_method;
    for (const arg& a : args) {
      doc += std::string(first ? "" : ", ") + a.name;
      first = false;
      if (a.fallback.ptr() != nullptr) doc += "=" + object::steal(PyObject_Repr(a.fallback.ptr())).cast<std::string>();
    }
    doc += ")\n--\n\n";
    definition.ml_name = name.c_str();
    definition.ml_doc = doc.c_str();
    definition.ml_flags = METH_FASTCALL | METH_KEYWORDS;
  }

  // given: n arguments by position, then those that the tuple names names, or null. Null if there was an error.
  PyObject* call(PyObject* self, PyObject* const* given, ssize_t n, PyObject* names) const noexcept {
    try {
      constexpr size_t kMost = 24;
      PyObject* values[kMost + 1] = {self};
      if (args.size() > kMost) throw std::runtime_error("too many parameters");
      PyObject** const slots = values + (is_method ? 1 : 0);
      const ssize_t count = static_cast<ssize_t>(args.size());
      if (n > count) fail("takes " + std::to_string(count) + " arguments, got " + std::to_string(n));
      for (ssize_t i = 0; i < count; ++i) slots[i] = i < n ? given[i] : nullptr;
      for (ssize_t j = 0; names != nullptr && j < PyTuple_Size(names); ++j) {
        PyObject* const key = PyTuple_GetItem(names, j);
        ssize_t i = 0;
        while (i < count && PyUnicode_CompareWithASCIIString(key, args[static_cast<size_t>(i)].name) != 0) ++i;
        if (i == count) fail("has no parameter '" + Conversion<std::string>::load(key) + "'");
        if (slots[i] != nullptr) fail("got '" + std::string(args[static_cast<size_t>(i)].name) + "' twice");
        slots[i] = given[n + j];
      }
      for (ssize_t i = 0; i < count; ++i) {
        const arg& a = args[static_cast<size_t>(i)];
        if (slots[i] == nullptr) slots[i] = a.fallback.ptr();
        if (slots[i] == nullptr) fail("needs the argument '" + std::string(a.name) + "'");
      }
      return body(*this, values).release();
    } catch (...) {
      set_error();
      return nullptr;
    }
  }

  template <class T>
  decltype(auto) load(PyObject* const* values, size_t i) const {
    using Value = std::decay_t<T>;
    const size_t skipped = is_method ? 1 : 0;
    if (i < skipped) return Conversion<Value>::load(values[i]);
    const arg& a = args[i - skipped];
    try {
      if constexpr (std::is_base_of_v<array, Value> && !std::is_same_v<array, Value>) {
        if (!a.convert) return Value::exact(values[i]);
      }
      return Conversion<Value>::load(values[i]);
    } catch (const cast_error& error) {
      const std::string type = to_object(object::borrow(reinterpret_cast<PyObject*>(Py_TYPE(values[i]))))
                                   .attr("__name__")
                                   .template cast<std::string>();
      fail("argument '" + std::string(a.name) + "': expected " + error.what() + ", got " + type);
    }
  }

  [[noreturn]] void fail(const std::string& message) const {
    set_message(PyExc_TypeError, name + "(): " + message);
    throw error_already_set();
  }
};

template <class F, class R, class... Args, size_t... I>
void set_body(Function& function, F f, std::index_sequence<I...>, R (*)(Args...)) {
  function.body = [f](const Function& self, PyObject* const* values) -> object {
    // Braces: the arguments are loaded in their order.
    std::tuple<decltype(self.load<Args>(values, I))...> loaded{self.load<Args>(values, I)...};
    if constexpr (std::is_void_v<R>) {
      std::apply(f, loaded);
      return none();
    } else {
      return to_object(std::apply(f, loaded));
    }
  };
}

template <class R, class... Args>
R (*signature_of(R (*)(Args...)))(Args...);
template <class T, class R, class... Args>
R (*signature_of(R (T::*)(Args...)))(T&, Args...);
template <class T, class R, class... Args>
R (*signature_of(R (T::*)(Args...) const))(T&, Args...);
template <class L, class R, class... Args>
R (*signature_of_call(R (L::*)(Args...) const))(Args...);
template <class F>
auto signature_of(const F&) -> decltype(signature_of_call(&F::operator()));

template <class R, class... Args>
constexpr size_t count_of(R (*)(Args...)) {
  return sizeof...(Args);
}

template <class F, class... Args>
Function* make_function(const char* name, bool is_method, F f, const Args&... args) {
  auto* const function = new Function();
  function->name = name;
  function->is_method = is_method;
  (function->args.push_back(args), ...);
  using Signature = decltype(signature_of(f));
  constexpr size_t kCount = count_of(Signature{});
  static_assert(kCount == sizeof...(Args) || kCount == sizeof...(Args) + 1, "one py::arg for each parameter");
  set_body(*function, f, std::make_index_sequence<kCount>(), Signature{});
  function->describe();
  return function;
}

inline PyObject* call_function(PyObject* self, PyObject* const* given, ssize_t n, PyObject* names) {
  const auto* const function = static_cast<const Function*>(PyCapsule_GetPointer(self, nullptr));
  return function->call(nullptr, given, n, names);
}

// A function with METH_FASTCALL | METH_KEYWORDS, as the type that PyMethodDef has for every kind.
inline PyCFunction c_function(PyObject* (*function)(PyObject*, PyObject* const*, ssize_t, PyObject*)) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(function));
}

}  // namespace detail

class module_ : public object {
 public:
  explicit module_(PyModuleDef* definition) : object(steal(PyModule_Create(definition))) {}

  template <class T>
  void set(const char* name, T&& value) {
    throw_if_error(PyModule_AddObjectRef(ptr(), name, to_object(std::forward<T>(value)).ptr()) != 0);
  }

  template <class F, class... Args>
  module_& def(const char* name, F f, const Args&... args) {
    detail::Function* const function = detail::make_function(name, false, f, args...);
    function->definition.ml_meth = detail::c_function(detail::call_function);
    const object self = steal(PyCapsule_New(function, nullptr, nullptr));
    const object module = attr("__name__");
    set(name, steal(PyCFunction_NewEx(&function->definition, self.ptr(), module.ptr())));
    return *this;
  }
};

template <class... Args>
struct init {};

// A class of C++ in Python, with at most kMethods methods. Python cannot inherit from it.
template <class T>
class class_ {
 public:
  class_(module_& m, const char* name) {
    static const std::string full_name = m.attr("__name__").template cast<std::string>() + "." + name;
    static PyType_Slot slots[] = {{Py_tp_new, reinterpret_cast<void*>(construct)},
                                  {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
                                  {0, nullptr}};
    PyType_Spec spec = {full_name.c_str(), sizeof(Instance), 0, Py_TPFLAGS_DEFAULT, slots};
    type_ = object::steal(PyType_FromSpec(&spec)).release();
    name_ = name;
    m.set(name, object::borrow(type_));
  }

  template <class... Args, class... Names>
  class_& def(init<Args...>, const Names&... names) {
    constructor_ = detail::make_function(
        name_, false, [](Args... args) { return std::make_unique<T>(std::forward<Args>(args)...); }, names...);
    return *this;
  }

  template <class F, class... Names>
  class_& def(const char* name, F f, const Names&... names) {
    detail::Function* const method = detail::make_function(name, true, f, names...);
    method->definition.ml_meth = detail::c_function(next_thunk(std::make_index_sequence<kMethods>()));
    methods_.push_back(method);
    const object descriptor =
        object::steal(PyDescr_NewMethod(reinterpret_cast<PyTypeObject*>(type_), &method->definition));
    throw_if_error(PyObject_SetAttrString(type_, name, descriptor.ptr()) != 0);
    return *this;
  }

  static T& value_of(PyObject* source) {
    if (reinterpret_cast<PyObject*>(Py_TYPE(source)) != type_) throw cast_error(std::string("a ") + name_);
    return *reinterpret_cast<Instance*>(source)->value;
  }

  static object wrap(std::unique_ptr<T> value) {
    object result = object::steal(PyType_GenericAlloc(reinterpret_cast<PyTypeObject*>(type_), 0));
    reinterpret_cast<Instance*>(result.ptr())->value = value.release();
    return result;
  }

 private:
  struct Instance {
    PyObject_HEAD;
    T* value;
  };
  using Thunk = PyObject* (*)(PyObject*, PyObject* const*, ssize_t, PyObject*);
  static constexpr size_t kMethods = 8;

  // A method of a type is a plain C function: there is one for each place in methods_.
  template <size_t I>
  static PyObject* call_method(PyObject* self, PyObject* const* given, ssize_t n, PyObject* names) {
    return methods_[I]->call(self, given, n, names);
  }

  template <size_t... I>
  static Thunk next_thunk(std::index_sequence<I...>) {
    static constexpr Thunk kThunks[] = {call_method<I>...};
    if (methods_.size() == kMethods) throw std::length_error("class_: too many methods");
    return kThunks[methods_.size()];
  }

  static PyObject* construct(PyTypeObject*, PyObject* by_position, PyObject* by_name) noexcept {
    if (constructor_ == nullptr) {
      PyErr_Format(PyExc_TypeError, "%s is only made by functions", name_);
      return nullptr;
    }
    try {
      std::vector<PyObject*> given;
      for (ssize_t i = 0; i < PyTuple_Size(by_position); ++i) given.push_back(PyTuple_GetItem(by_position, i));
      const ssize_t n = static_cast<ssize_t>(given.size());
      tuple names;
      if (by_name != nullptr) {
        const object keys = object::steal(PyDict_Keys(by_name));
        names = tuple(object::steal(PyList_AsTuple(keys.ptr())));
        for (ssize_t i = 0; i < PyTuple_Size(names.ptr()); ++i)
          given.push_back(PyDict_GetItem(by_name, PyTuple_GetItem(names.ptr(), i)));
      }
      return constructor_->call(nullptr, given.data(), n, names.ptr());
    } catch (...) {
      detail::set_error();
      return nullptr;
    }
  }

  static void dealloc(PyObject* self) {
    delete reinterpret_cast<Instance*>(self)->value;
    PyTypeObject* const type = Py_TYPE(self);
    reinterpret_cast<freefunc>(PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
  }

  inline static PyObject* type_ = nullptr;
  inline static const char* name_ = nullptr;
  inline static const detail::Function* constructor_ = nullptr;
  inline static std::vector<const detail::Function*> methods_;
};

// Every other type is one that class_ has bound.
template <class T, class>
struct Conversion {
  static T& load(PyObject* source) { return class_<T>::value_of(source); }
};

template <class T>
struct Conversion<std::unique_ptr<T>> {
  static object store(std::unique_ptr<T> value) { return class_<T>::wrap(std::move(value)); }
};

// Exceptions of type E become those of a new class of Python.
template <class E>
void register_exception(module_& m, const char* name, PyObject* base) {
  static PyObject* type = nullptr;
  const std::string full_name = m.attr("__name__").template cast<std::string>() + "." + name;
  type = object::steal(PyErr_NewException(full_name.c_str(), base, nullptr)).release();
  m.set(name, object::borrow(type));
  detail::translators().push_back([](std::exception_ptr exception) {
    try {
      std::rethrow_exception(exception);
    } catch (const E& error) {
      detail::set_message(type, error.what());
      return true;
    } catch (...) {
      return false;
    }
  });
}

}  // namespace pa3d::py
