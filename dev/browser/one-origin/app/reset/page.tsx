export default async function Page({ searchParams }: { searchParams: Promise<{ token?: string }> }) {
  const { token } = await searchParams;
  return <h1>{token ? "Choose a new password" : "This link is no good"}</h1>;
}
