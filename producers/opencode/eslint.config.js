import js from "@eslint/js";
import { defineConfig } from "eslint/config";
import typescript from "typescript-eslint";

export default defineConfig(
  { ignores: ["node_modules/", "shared/", "src/schema.ts"] },
  js.configs.recommended,
  {
    files: ["**/*.ts"],
    extends: [typescript.configs.strictTypeChecked, typescript.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      // OpenCode's own terminal is no place for our words.
      "no-console": "error",
      // A number in a message is meant.
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      // Control characters are what is looked for.
      "no-control-regex": "off",
    },
  },
  // A promise without an end would hold up OpenCode; a test's may be `test()`'s own.
  { files: ["test/**"], rules: { "@typescript-eslint/no-floating-promises": "off" } },
);
