# `cmake --install`: the library with its public headers and CMake package, the program, the licence. Each part belongs to
# one of the Debian packages of cmake/Package.cmake.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

add_library(ernie_image::ernie_image ALIAS ernie_image)
add_library(ernie_image::ernie_image_c ALIAS ernie_image_c)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/ernie_image)

set(model_library)
if(ERNIE_IMAGE_SHARED_MODEL)
  set(model_library ernie_image_model)
endif()
install(TARGETS ernie_image ernie_image_c ${model_library} EXPORT ernie_imageTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/ernie_image DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        COMPONENT library FILES_MATCHING PATTERN "*.h")
install(EXPORT ernie_imageTargets NAMESPACE ernie_image:: DESTINATION ${package_dir}
        COMPONENT library)

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/ernie_imageConfig.cmake.in
                              ${PROJECT_BINARY_DIR}/ernie_imageConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
# Before 1.0 a minor version may change the API.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/ernie_imageConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/ernie_imageConfig.cmake
              ${PROJECT_BINARY_DIR}/ernie_imageConfigVersion.cmake
        DESTINATION ${package_dir} COMPONENT library)

configure_file(${CMAKE_CURRENT_LIST_DIR}/ernie_image.pc.in ${PROJECT_BINARY_DIR}/ernie_image.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/ernie_image.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT library)

# Of the C library alone: C++ has the package above.
file(RELATIVE_PATH prefix_from_pkgconfig /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(${CMAKE_CURRENT_LIST_DIR}/ernie_image_c.pc.in ${PROJECT_BINARY_DIR}/ernie_image_c.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/ernie_image_c.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT library)

install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION share/doc/libernie-image-dev RENAME copyright
        COMPONENT library)
if(TARGET ernie-image)
  install(TARGETS ernie-image RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
  # So that whoever built the program alone can install.
  add_dependencies(ernie-image ernie_image)
endif()

# The manual page and the completion of shells, as the program itself says them.
function(ernie_image_install_words destination name)
  list(JOIN ARGN "\" \"" command)
  install(CODE "
    set(folder \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${destination}\")
    file(MAKE_DIRECTORY \"\${folder}\")
    execute_process(COMMAND \"$<TARGET_FILE:ernie-image>\" --config= \"${command}\" OUTPUT_FILE \"\${folder}/${name}\"
                    COMMAND_ERROR_IS_FATAL ANY)
    list(APPEND CMAKE_INSTALL_MANIFEST_FILES \"\${CMAKE_INSTALL_PREFIX}/${destination}/${name}\")
  " COMPONENT program)
endfunction()
if(TARGET ernie-image AND NOT CMAKE_CROSSCOMPILING)
  ernie_image_install_words(share/man/man1 ernie-image.1 man)
  ernie_image_install_words(share/bash-completion/completions ernie-image completion bash)
  ernie_image_install_words(share/zsh/vendor-completions _ernie-image completion zsh)
  ernie_image_install_words(share/fish/vendor_completions.d ernie-image.fish completion fish)
endif()
