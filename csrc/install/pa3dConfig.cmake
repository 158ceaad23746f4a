# find_package(pa3d) gives the target pa3d::pa3d and pa3d_WEIGHTS, the folder of the model and the text encoder.
get_filename_component(_pa3d_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(NOT TARGET pa3d::pa3d)
  add_library(pa3d::pa3d SHARED IMPORTED)
  set_target_properties(pa3d::pa3d PROPERTIES
    IMPORTED_LOCATION "${_pa3d_prefix}/lib/libpa3d.so"
    INTERFACE_INCLUDE_DIRECTORIES "${_pa3d_prefix}/include")
endif()
set(pa3d_WEIGHTS "${_pa3d_prefix}/share/pa3d")
unset(_pa3d_prefix)
