export { default, metadata } from "../../layout";
