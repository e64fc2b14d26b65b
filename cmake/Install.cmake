# `cmake --install`: the library with its public headers and CMake package, the program, the licence.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

add_library(ernie_image::ernie_image ALIAS ernie_image)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/ernie_image)

install(TARGETS ernie_image EXPORT ernie_imageTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/ernie_image DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")
install(EXPORT ernie_imageTargets NAMESPACE ernie_image:: DESTINATION ${package_dir})

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/ernie_imageConfig.cmake.in
                              ${PROJECT_BINARY_DIR}/ernie_imageConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
# Before 1.0 a minor version may change the API.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/ernie_imageConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/ernie_imageConfig.cmake
              ${PROJECT_BINARY_DIR}/ernie_imageConfigVersion.cmake
        DESTINATION ${package_dir})

install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(TARGET ernie-image)
  install(TARGETS ernie-image RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
