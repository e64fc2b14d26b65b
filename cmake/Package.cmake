# `cpack -G DEB`: two Debian packages, the program with its service, and the library with its headers. Dependencies are what
# dpkg-shlibdeps reads from the binaries.
set(packaging ${PROJECT_SOURCE_DIR}/packaging)
install(FILES ${packaging}/ernie-image.service ${packaging}/ernie-image-worker@.service DESTINATION lib/systemd/system COMPONENT program)
install(FILES ${packaging}/ernie-image.sysusers DESTINATION lib/sysusers.d RENAME ernie-image.conf COMPONENT program)
# What the system reads is /etc, and what is installed elsewhere stays there: as GNUInstallDirs has it, but for a prefix that is only
# known now. DESTDIR is heeded by file(INSTALL) itself.
install(CODE "
  set(etc \"\${CMAKE_INSTALL_PREFIX}/etc\")
  if(CMAKE_INSTALL_PREFIX STREQUAL \"/usr\")
    set(etc /etc)
  endif()
  file(INSTALL DESTINATION \"\${etc}/default\" TYPE FILE RENAME ernie-image FILES \"${packaging}/ernie-image.default\")
" COMPONENT program)
install(FILES ${packaging}/nginx.conf ${PROJECT_SOURCE_DIR}/docs/deploy.md ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/CHANGELOG.md
        DESTINATION share/doc/ernie-image COMPONENT program)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION share/doc/ernie-image RENAME copyright COMPONENT program)

# What the program is made of. The environment is test.sh's; without its library the package goes without the document.
find_package(Python3 COMPONENTS Interpreter)
set(sbom_python ${PROJECT_BINARY_DIR}/client-venv/bin/python)
install(CODE "
  set(python \"${sbom_python}\")
  if(NOT EXISTS \"\${python}\")
    set(python \"${Python3_EXECUTABLE}\")
  endif()
  set(folder \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/share/doc/ernie-image\")
  execute_process(COMMAND \"\${python}\" \"${packaging}/sbom.py\" \"$<TARGET_FILE:ernie-image>\" \"${PROJECT_VERSION}\" \"\${folder}/sbom.cdx.json\"
                  RESULT_VARIABLE result ERROR_VARIABLE problem)
  if(result EQUAL 0)
    list(APPEND CMAKE_INSTALL_MANIFEST_FILES \"\${CMAKE_INSTALL_PREFIX}/share/doc/ernie-image/sbom.cdx.json\")
  else()
    message(STATUS \"no bill of materials (cyclonedx-python-lib makes it): \${result} \${problem}\")
  endif()
" COMPONENT program)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME ernie-image)
set(CPACK_PACKAGE_VENDOR ernie-image)
set(CPACK_PACKAGE_CONTACT "ernie-image maintainers <ernie-image@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY ${PROJECT_DESCRIPTION})
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_THREADS 0)
set(CPACK_SOURCE_GENERATOR "")
set(CPACK_COMPONENTS_ALL program library)
set(CPACK_DEB_COMPONENT_INSTALL ON)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION graphics)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME ernie-image)
set(CPACK_DEBIAN_PROGRAM_DESCRIPTION "Makes pictures from text with Baidu's ERNIE-Image models, on the command line, through HTTP APIs and in the
browser. A small model is built in; others are folders.")
set(CPACK_DEBIAN_PROGRAM_PACKAGE_CONTROL_EXTRA
    "${packaging}/postinst;${packaging}/prerm;${packaging}/postrm;${packaging}/conffiles")
set(CPACK_DEBIAN_PROGRAM_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_NAME libernie-image-dev)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_LIBRARY_DESCRIPTION "The shared library of ernie-image, its headers and CMake package.")
include(CPack)
