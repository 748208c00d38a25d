# `cmake --install`: headers, the library, a CMake package and a pkg-config file.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS pagoda EXPORT pagoda_targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/pagoda DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT pagoda_targets NAMESPACE pagoda:: FILE pagoda-targets.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/pagoda)
configure_package_config_file(cmake/pagoda-config.cmake.in ${PROJECT_BINARY_DIR}/pagoda-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/pagoda)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/pagoda-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/pagoda-config.cmake ${PROJECT_BINARY_DIR}/pagoda-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/pagoda)
configure_file(cmake/pagoda.pc.in ${PROJECT_BINARY_DIR}/pagoda.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/pagoda.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
