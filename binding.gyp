{
  "targets": [
    {
      "target_name": "moe_native",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "message": "Building the addon with CMake, which has the only list of sources",
          "inputs": ["<(module_root_dir)/CMakeLists.txt"],
          "outputs": ["<(PRODUCT_DIR)/moe_native.node"],
          "action": ["node", "<(module_root_dir)/scripts/build_native.mjs", "--config", "<(CONFIGURATION_NAME)", "--arch", "<(target_arch)", "--out", "<(PRODUCT_DIR)"]
        }
      ]
    }
  ]
}
